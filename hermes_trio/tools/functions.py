"""Python functions as tools: the schema from the annotations, the descriptions from the docstring.

An asynchronous function runs where it is called. A synchronous one runs in a worker thread, of which there
are as many as the limiter has places. No thread can be killed: one whose call was ended goes on to its end,
and keeps its place until then, so that abandoned threads are bounded too. Long ones can ask
``trio.from_thread.check_cancelled()`` whether they are still wanted.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, get_type_hints

import docstring_parser
import msgspec
import trio
from attrs import frozen

from hermes_trio.errors import InvalidInputError, Provenance
from hermes_trio.tools.calls import ToolCall, ToolResult
from hermes_trio.tools.schema import ToolSchema
from hermes_trio.tools.tool import Tool, ToolContext

DEFAULT_THREADS = 8
"""Of one synchronous function."""

_NOTE = "It cannot be stopped and goes on in the background."

_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def python_tool(
    function: Callable[..., Any],
    *,
    name: str | None = None,
    description: str | None = None,
    limit_s: float | None = None,
    limiter: trio.CapacityLimiter | None = None,
) -> Tool:
    """Make a tool of a function.

    The model's arguments are checked against the annotations and converted to them (enumerations,
    dataclasses, dates and so on) before the function is called. A parameter that is annotated
    :class:`ToolContext` is not the model's: it gets the context. What the function returns is the output:
    text as it is, anything else as JSON, ``None`` as nothing; a :class:`ToolResult` is taken as it is.

    Args:
        function: with annotated parameters that can be given by name. Its docstring may be in Google, NumPy,
            reST or Epydoc style.
        name: of the tool; ``None``: the function's.
        description: for the model; ``None``: the docstring's text.
        limit_s: most seconds of a call; ``None``: what the caller allows. Waiting for a thread counts.
        limiter: of threads, to share it between functions; ``None``: one of its own with 8 places.

    Raises:
        InvalidInputError: a parameter cannot be given by name, or its type has no JSON form.
    """
    tool_name = name or str(getattr(function, "__name__", ""))
    signature = _read_signature(function, tool_name)
    docstring = docstring_parser.parse(inspect.getdoc(_written(function)) or "")
    told = description if description is not None else (docstring.description or "")
    schema = _schema(
        tool_name, told, signature, {each.arg_name: each.description for each in docstring.params}
    )
    call = _FunctionCall(function, signature, limiter or trio.CapacityLimiter(DEFAULT_THREADS))
    if inspect.iscoroutinefunction(_written(function)):
        return Tool(schema, handler=call.run, limit_s=limit_s)
    return Tool(schema, handler=call.run_in_thread, limit_s=limit_s, limit_note=_NOTE)


def _written(function: Any) -> Any:
    """The function that somebody wrote: below a partial, or what an object does when it is called."""
    if isinstance(function, partial):
        return _written(function.func)
    is_written = inspect.isroutine(function) or not callable(function)
    return function if is_written else type(function).__call__


# --- the schema -------------------------------------------------------------------------------------------


@frozen
class _Signature:
    """What the model may give, and the name of the parameter that takes the context."""

    arguments: type[msgspec.Struct]
    context: str | None
    defaults: Mapping[str, Any]


def _read_signature(function: Callable[..., Any], name: str) -> _Signature:
    try:
        hints = get_type_hints(_written(function), include_extras=True)
        parameters = inspect.signature(function).parameters
    except (NameError, TypeError, ValueError) as error:
        raise InvalidInputError(f"tool '{name}': its signature cannot be read: {error}") from error
    context = next((each for each in parameters if hints.get(each) is ToolContext), None)
    members: list[Any] = []
    for parameter in parameters.values():
        if parameter.kind not in _BY_NAME:
            raise InvalidInputError(f"tool '{name}': cannot be given by name", field=str(parameter))
        if parameter.name != context:
            members.append(_member(parameter, hints.get(parameter.name, Any)))
    given = (each for each in parameters.values() if each.default is not inspect.Parameter.empty)
    return _Signature(
        arguments=msgspec.defstruct(f"{name}_arguments", members, kw_only=True, forbid_unknown_fields=True),
        context=context,
        defaults={each.name: each.default for each in given},
    )


def _member(parameter: inspect.Parameter, hint: Any) -> tuple[Any, ...]:
    if parameter.default is inspect.Parameter.empty:
        return (parameter.name, hint)
    # Never used: an argument that is not given is left to the function.
    return (parameter.name, hint, msgspec.field(default_factory=lambda: parameter.default))


def _schema(name: str, description: str, signature: _Signature, told: Mapping[str, str | None]) -> ToolSchema:
    try:
        whole = msgspec.json.schema(signature.arguments)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"tool '{name}': {error}", field="parameters") from error
    definitions = dict(whole["$defs"])
    own = definitions.pop(whole["$ref"].removeprefix("#/$defs/"))
    further: dict[str, Any] = {"additionalProperties": False}
    if definitions:
        further["$defs"] = definitions
    return ToolSchema(
        name,
        description.strip(),
        parameters={
            each: _described(schema, told.get(each), signature.defaults.get(each))
            for each, schema in own["properties"].items()
        },
        required=own["required"],
        further=further,
    )


def _described(schema: Mapping[str, Any], told: str | None, default: Any) -> dict[str, Any]:
    described = dict(schema)
    if told:
        described.setdefault("description", told)
    if isinstance(default, (str, int, float, bool)):
        described["default"] = default
    return described


# --- the call ---------------------------------------------------------------------------------------------


@frozen
class _FunctionCall:
    function: Callable[..., Any]
    signature: _Signature
    limiter: trio.CapacityLimiter

    async def run(self, call: ToolCall, context: ToolContext) -> ToolResult:
        return await self._run(call, context, self._here)

    async def run_in_thread(self, call: ToolCall, context: ToolContext) -> ToolResult:
        return await self._run(call, context, self._in_thread)

    async def _run(
        self, call: ToolCall, context: ToolContext, how: Callable[[dict[str, Any]], Awaitable[Any]]
    ) -> ToolResult:
        await trio.lowlevel.checkpoint()
        try:
            converted = msgspec.convert(dict(call.arguments), self.signature.arguments)
        except msgspec.ValidationError as error:
            # What JSON Schema lets pass: formats, and limits of Python's types.
            return ToolResult(
                False, error=f"Invalid arguments: {error}", provenance=Provenance.INVALID_REQUEST
            )
        arguments = {name: getattr(converted, name) for name in call.arguments}
        if self.signature.context is not None:
            arguments[self.signature.context] = context
        return _as_result(await how(arguments))

    async def _here(self, arguments: dict[str, Any]) -> Any:
        return await self.function(**arguments)

    async def _in_thread(self, arguments: dict[str, Any]) -> Any:
        return await trio.to_thread.run_sync(
            partial(self.function, **arguments), limiter=self.limiter, abandon_on_cancel=True
        )


def _as_result(returned: Any) -> ToolResult:
    match returned:
        case ToolResult():
            return returned
        case str():
            return ToolResult(True, returned)
        case None:
            return ToolResult(True)
        case _:
            return ToolResult(True, _as_json(returned))


def _as_json(value: Any) -> str:
    plain = msgspec.to_builtins(value, enc_hook=str, str_keys=True)
    return json.dumps(plain, ensure_ascii=False)
