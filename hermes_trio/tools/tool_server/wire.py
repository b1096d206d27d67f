"""What goes over the wire between an executor and a ToolServer, and its strict reading. PURE.

``GET /tools`` gives ``{"tools": [OpenAI function schemas]}``. ``POST /execute`` takes ``trajectory_id``,
``tool {name, arguments, uniq_id}``, ``timeout_s``, ``slot_id``, ``container_addr`` and gives ``success``,
``output``, ``error``, ``metadata``, ``uniq_id``: the ancestor's members. Ours adds ``provenance``, which
older sides neither send nor mind.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import frozen

from hermes_trio.errors import InvalidInputError, Provenance
from hermes_trio.tools.calls import ToolCall, ToolResult
from hermes_trio.tools.schema import ToolSchema
from hermes_trio.tools.tool import ToolContext

MIN_LIMIT_S = 1.0
MAX_LIMIT_S = 600.0
"""What a request asks for is clamped to this range, as in the ancestor."""


@frozen(kw_only=True)
class ExecuteRequest:
    """A request to run one call."""

    call: ToolCall
    context: ToolContext


def execute_body(call: ToolCall, context: ToolContext) -> dict[str, Any]:
    """The body of ``POST /execute``."""
    return {
        "trajectory_id": context.trajectory_id,
        "tool": {"name": call.name, "arguments": dict(call.arguments), "uniq_id": call.uniq_id},
        "timeout_s": context.limit_s,
        "slot_id": context.slot_id,
        "container_addr": context.container_addr,
    }


def read_execute_body(body: Any, *, default_limit_s: float) -> ExecuteRequest:
    """Read the body of ``POST /execute``.

    Raises:
        InvalidInputError: it names the member that is wrong.
    """
    whole = _object(body, "body")
    tool = _object(whole.get("tool"), "tool")
    call = ToolCall(
        name=_text(tool, "name", path="tool.name"),
        arguments=_object(tool.get("arguments") or {}, "tool.arguments"),
        uniq_id=_text_or_none(tool, "uniq_id", path="tool.uniq_id") or "",
    )
    context = ToolContext(
        trajectory_id=_text_or_none(whole, "trajectory_id", path="trajectory_id") or "",
        limit_s=_limit(whole.get("timeout_s"), default_s=default_limit_s),
        slot_id=_text_or_none(whole, "slot_id", path="slot_id"),
        container_addr=_text_or_none(whole, "container_addr", path="container_addr"),
    )
    return ExecuteRequest(call=call, context=context)


def result_body(result: ToolResult) -> dict[str, Any]:
    """The answer to ``POST /execute``."""
    return {
        "success": result.success,
        "output": result.output,
        "error": result.error,
        "metadata": dict(result.metadata),
        "uniq_id": result.uniq_id or None,
        "provenance": result.provenance.value,
    }


def read_result_body(body: Any, *, uniq_id: str) -> ToolResult:
    """Read the answer to ``POST /execute``; the result carries our own id, whatever the server says.

    Raises:
        InvalidInputError: it is not a tool result; the text names the member.
    """
    if not isinstance(body, Mapping):
        raise InvalidInputError("the answer is not a JSON object")
    for name, kind in (("success", bool), ("output", str), ("error", str), ("metadata", dict)):
        if name in body and not isinstance(body[name], kind):
            raise InvalidInputError(f"the answer's '{name}' is not a {kind.__name__}")
    if "success" not in body:
        raise InvalidInputError("the answer has no 'success'")
    return ToolResult(
        success=body["success"],
        output=body.get("output", ""),
        error=body.get("error", ""),
        metadata=body.get("metadata", {}),
        uniq_id=uniq_id,
        provenance=_provenance(body),
    )


def _provenance(body: Mapping[str, Any]) -> Provenance:
    """As told where it goes with ``success``; a server of the ancestor's tells none."""
    if body["success"]:
        return Provenance.OK
    told = body.get("provenance")
    known = {each.value: each for each in Provenance if each is not Provenance.OK}
    return known.get(told, Provenance.TOOL_ERROR) if isinstance(told, str) else Provenance.TOOL_ERROR


def read_tools_body(body: Any) -> tuple[ToolSchema, ...]:
    """Read the answer to ``GET /tools``.

    Raises:
        InvalidInputError: it is not a list of OpenAI function schemas; the text names the first that is none.
    """
    listed = body.get("tools") if isinstance(body, Mapping) else None
    if not isinstance(listed, list):
        raise InvalidInputError("the answer has no list 'tools'")
    return tuple(_read_schema(each, f"tools[{index}]") for index, each in enumerate(listed))


def _read_schema(value: Any, path: str) -> ToolSchema:
    function = _object(_object(value, path).get("function", value), f"{path}.function")
    name = _text(function, "name", path=f"{path}.function.name")
    parameters = _object(function.get("parameters") or {}, f"{path}.function.parameters")
    return ToolSchema.from_json_schema(
        name, str(function.get("description") or ""), parameters, external=True
    )


# --- members ----------------------------------------------------------------------------------------------


def _object(value: Any, path: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InvalidInputError("must be a JSON object", field=path)
    return value


def _text(whole: Mapping[str, Any], name: str, *, path: str) -> str:
    value = whole.get(name)
    if not isinstance(value, str) or not value:
        raise InvalidInputError("must be a text that is not empty", field=path)
    return value


def _text_or_none(whole: Mapping[str, Any], name: str, *, path: str) -> str | None:
    value = whole.get(name)
    if value is not None and not isinstance(value, str):
        raise InvalidInputError("must be a text or null", field=path)
    return value


def _limit(value: Any, *, default_s: float) -> float:
    if value is None:
        return default_s
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
        raise InvalidInputError("must be a number or null", field="timeout_s")
    return float(max(MIN_LIMIT_S, min(value, MAX_LIMIT_S)))
