"""Schemas of the tools that run inside a slot. PURE data.

What they answer, and which limits hold, is the executor's business (``docs/design/spine.md``); the
stateful ones are offered only where a daemon can run them.
"""

from __future__ import annotations

from typing import Any

from hermes_trio.tools.schema import ToolSchema


def _string(description: str) -> dict[str, Any]:
    return {"type": "string", "description": description}


def _number(description: str) -> dict[str, Any]:
    return {"type": "number", "description": description}


_COMMAND = _string("The command line, run by bash in the workspace.")
_TIMEOUT = _number("Seconds after which the command is killed, 1 to 600. Default 30.")
_STATEFUL = "Run a command in a shell that keeps its directory, variables and functions between calls."

BASH = ToolSchema(
    "bash",
    "Run a shell command in a fresh shell in the workspace and get what it printed and its exit code.",
    parameters={"command": _COMMAND},
    required=("command",),
)
TERMINAL = ToolSchema(
    "terminal",
    "Run a shell command in the workspace and get what it printed and its exit code. Files persist between "
    "calls; the shell's directory and variables do not. Nothing keeps running after the call.",
    parameters={
        "command": _COMMAND,
        "timeout": _TIMEOUT,
        "background": {"type": "boolean", "description": "Not supported here; leave it out."},
    },
    required=("command",),
)
BASH_STATEFUL = ToolSchema(
    "bash_stateful",
    _STATEFUL,
    parameters={"command": _COMMAND, "timeout": _TIMEOUT},
    required=("command",),
)
TERMINAL_STATEFUL = ToolSchema(
    "terminal_stateful",
    _STATEFUL,
    parameters={"command": _COMMAND, "timeout": _TIMEOUT},
    required=("command",),
)
TMUX = ToolSchema(
    "tmux",
    "Drive an interactive program in a terminal: start it, send keys, look at the screen.",
    parameters={
        "action": {
            "type": "string",
            "enum": ["start", "send_keys", "capture", "stream", "stop"],
            "description": "What to do.",
        },
        "keys": {
            "type": ["string", "array"],
            "items": {"type": "string"},
            "description": "Keys for send_keys, in tmux notation.",
        },
        "block": {"type": "boolean", "description": "Wait until the sent command has ended."},
        "min_wait_s": _number("Seconds to wait at least after sending keys."),
        "max_wait_s": _number("Seconds to wait at most."),
        "capture_entire": {"type": "boolean", "description": "Capture the scrollback too."},
        "max_bytes": {"type": "integer", "description": "Most bytes to return."},
        "reset": {"type": "boolean", "description": "Start the recording over."},
        "pane_width": {"type": "integer", "description": "Columns, 20 to 500. Default 120."},
        "pane_height": {"type": "integer", "description": "Rows, 10 to 200. Default 40."},
    },
    required=("action",),
)
READ_FILE = ToolSchema(
    "read_file",
    "Read a text file of the workspace.",
    parameters={"path": _string("Path of the file, relative to the workspace.")},
    required=("path",),
)
WRITE_FILE = ToolSchema(
    "write_file",
    "Write a text file into the workspace, replacing what is there; missing directories are made.",
    parameters={
        "path": _string("Path of the file, relative to the workspace."),
        "content": _string("The whole content of the file."),
    },
    required=("path", "content"),
)

SANDBOX_TOOLS: tuple[ToolSchema, ...] = (
    TERMINAL,
    BASH,
    READ_FILE,
    WRITE_FILE,
    BASH_STATEFUL,
    TERMINAL_STATEFUL,
    TMUX,
)
"""Every tool a slot can run, or will."""
