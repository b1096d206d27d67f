"""What a model is told of commands in the background, where its operator allows them. PURE."""

from __future__ import annotations

from typing import Any, Final

from attrs import evolve

from hermes_trio.tools.registry import ToolRegistry
from hermes_trio.tools.schema import ToolSchema
from hermes_trio.tools.tool import Tool
from hermes_trio.wire.operations import JOB_SIGNALS

SHELLS: Final = frozenset({"bash", "terminal"})
"""The tools whose commands may go to the background."""

_BACKGROUND: Final[dict[str, Any]] = {
    "type": "boolean",
    "description": "Return at once and let the command go on in the background, as a job: see the tool job.",
}
_ONCE: Final = "Nothing keeps running after the call."
_UNLESS: Final = "Nothing keeps running after the call, but what was started with background."

JOB: Final = ToolSchema(
    "job",
    "Look at, wait for, signal or type into a command that was started with background. A job ends with its "
    "command: what it leaves behind is ended, too.",
    parameters={
        "action": {
            "type": "string",
            "enum": ["list", "logs", "wait", "signal", "stdin"],
            "description": "What to do. list needs no job.",
        },
        "job": {"type": "string", "description": "The job's name, such as job-1."},
        "offset": {
            "type": "integer",
            "description": "logs: first byte wanted. Left out: where the logs before ended.",
        },
        "max_bytes": {"type": "integer", "description": "logs: most bytes to return. Default 30,000."},
        "timeout": {
            "type": "number",
            "description": "Seconds to wait at most: for the end with wait (default 30), for new output with "
            "logs (default 0), 0 to 600.",
        },
        "signal": {
            "type": "string",
            "enum": list(JOB_SIGNALS),
            "description": "signal: which. KILL ends everything the job has started. Default TERM.",
        },
        "input": {"type": "string", "description": "stdin: the text to type."},
        "eof": {"type": "boolean", "description": "stdin: end the job's input after the text."},
    },
    required=("action",),
)


def with_background(registry: ToolRegistry) -> ToolRegistry:
    """The same tools, whose shells take ``background``, and the tool ``job`` beside them.

    A registry without a shell, and one that has the tool already, stays as it is.

    Raises:
        InvalidInputError: another tool is called ``job``.
    """
    shells = [tool for tool in registry if _is_shell(tool)]
    if not shells or any(tool.runs_in_slot and tool.runs_as == JOB.name for tool in registry):
        return registry
    return ToolRegistry([*(_told(tool) for tool in registry), Tool(JOB)])


def _is_shell(tool: Tool) -> bool:
    return tool.runs_in_slot and tool.runs_as in SHELLS


def _told(tool: Tool) -> Tool:
    if not _is_shell(tool):
        return tool
    schema = tool.schema
    return evolve(
        tool,
        schema=evolve(
            schema,
            description=schema.description.replace(_ONCE, _UNLESS),
            parameters={**schema.parameters, "background": _BACKGROUND},
        ),
    )
