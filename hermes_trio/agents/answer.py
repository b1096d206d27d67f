"""What a model server answered, in one shape whatever SDK or server it came from. PURE.

vLLM's translators give tool calls as dictionaries, OpenAI's SDK as objects; some servers leave out ids,
some send arguments decoded, some leave calls as tags in the text. After :func:`read_answer` nobody needs
to know.
"""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import Any

from attrs import frozen

from hermes_trio.models.completion import Usage, extract_reasoning, member, text_of
from hermes_trio.models.parsers import ParsedCall, ToolCallParser
from hermes_trio.models.tokens import CallTokens, read_tokens


@frozen(kw_only=True)
class CallRequest:
    """A call as the model made it: ``arguments`` is text that may not be JSON, ``call_id`` may be empty."""

    name: str
    arguments: str
    call_id: str = ""
    raw_text: str = ""


_UNTOLD = CallTokens(problem="not told")


@frozen(kw_only=True)
class Answer:
    """One turn of the model."""

    content: str = ""
    calls: tuple[CallRequest, ...] = ()
    reasoning: str | None = None
    finish_reason: str | None = None
    usage: Usage | None = None
    tokens: CallTokens = _UNTOLD
    problems: tuple[str, ...] = ()
    """What began like a call in the text and could not be read, in words for the model."""


def read_answer(response: Any, *, parser: ToolCallParser | None) -> Answer | None:
    """Read a completion: ours, an SDK's object, or plain JSON.

    Args:
        response: with a ``message``, or with ``choices`` of which the first counts.
        parser: looks for calls in the text when there are no structured ones.

    Returns:
        ``None`` when there is no message in it.
    """
    reading = reading_answer(response, parser=parser)
    while True:
        try:
            next(reading)
        except StopIteration as stop:
            answer: Answer | None = stop.value
            return answer


def reading_answer(response: Any, *, parser: ToolCallParser | None) -> Generator[None, None, Answer | None]:
    """:func:`read_answer` in short steps: it yields wherever others may have their turn."""
    choice = _first_choice(response)
    message = member(choice, "message")
    if message is None:
        return None
    content, calls = text_of(member(message, "content")), _structured_calls(message)
    problems: tuple[str, ...] = ()
    if not calls and parser is not None and content:
        parsed = yield from parser.parsing(content)
        content, problems = parsed.content or "", tuple(map(str, parsed.problems))
        calls = tuple(_from_parsed(call) for call in parsed.calls)
    usage = member(response, "usage")
    return Answer(
        content=content,
        calls=calls,
        reasoning=extract_reasoning(message),
        finish_reason=member(choice, "finish_reason"),
        usage=usage if isinstance(usage, Usage) else None,
        tokens=read_tokens(response),
        problems=problems,
    )


def _first_choice(response: Any) -> Any:
    choices = member(response, "choices")
    if choices is None:
        return response
    return choices[0] if choices else None


def _structured_calls(message: Any) -> tuple[CallRequest, ...]:
    return tuple(_read_call(call) for call in member(message, "tool_calls") or ())


def _read_call(call: Any) -> CallRequest:
    function = member(call, "function") or call
    return CallRequest(
        name=str(member(function, "name") or ""),
        arguments=_arguments_text(member(function, "arguments")),
        call_id=str(member(call, "id") or ""),
    )


def _arguments_text(arguments: Any) -> str:
    if isinstance(arguments, str):
        return arguments
    return "{}" if arguments is None else json.dumps(arguments, default=str)


def _from_parsed(call: ParsedCall) -> CallRequest:
    arguments = json.dumps(call.arguments)
    return CallRequest(name=call.name, arguments=arguments, call_id=call.call_id, raw_text=call.raw_text)
