"""A chat completion as data, read strictly from what a server sent. PURE.

Nothing is thrown away: ``raw`` keeps the whole body.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import field, frozen

from hermes_trio.models.members import member as member
from hermes_trio.models.tokens.calls import CallTokens
from hermes_trio.models.tokens.dialects import read_tokens


@frozen(kw_only=True)
class Usage:
    """Tokens as the server counted them; a member it did not tell is 0."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            total_tokens=self.total_tokens + other.total_tokens,
        )


@frozen(kw_only=True)
class ChatMessage:
    """What the assistant said. ``tool_calls`` are the server's own JSON objects."""

    content: str = ""
    tool_calls: tuple[Mapping[str, Any], ...] = ()
    reasoning: str | None = None
    role: str = "assistant"


@frozen(kw_only=True)
class ChatCompletion:
    """One answer of a model server.

    Args:
        message: of the first choice.
        finish_reason: ``stop``, ``length``, ``tool_calls``, ...; ``None`` when not told.
        usage: ``None`` when not told.
        model: the name the server gave.
        latency_s: from asking to the last byte, ``queue_s`` included; 0 when nobody measured.
        queue_s: of it, until the attempt began that was answered: waits between attempts.
        attempts: requests made, the answered one included.
        server: the address that answered, without credentials; empty when nobody noted it.
        tokens: what was read and sampled, as ids; ``None``: nobody looked. Its ``problem`` says what the
            server did not tell.
        raw: the whole body.
    """

    message: ChatMessage
    finish_reason: str | None = None
    usage: Usage | None = None
    model: str = ""
    latency_s: float = 0.0
    queue_s: float = 0.0
    attempts: int = 1
    server: str = ""
    tokens: CallTokens | None = field(default=None, repr=False)
    raw: Mapping[str, Any] = field(factory=dict, repr=False)

    @property
    def text_chars(self) -> int:
        """How much text the answer adds to a transcript."""
        calls = (member(call, "function") for call in self.message.tool_calls)
        arguments = sum(len(str(member(call, "arguments") or "")) for call in calls)
        return len(self.message.content) + len(self.message.reasoning or "") + arguments


class MalformedCompletion(Exception):
    """A body is not a chat completion; the text says what is missing."""


def read_completion(body: Any) -> ChatCompletion:
    """Read the decoded body of a 200 answer. How long it took is the caller's to add.

    Raises:
        MalformedCompletion: it has no first choice with a message, or carries an error instead.
    """
    raw = _object(body, "the body")
    if raw.get("error") and not raw.get("choices"):
        raise MalformedCompletion(f"it sent an error: {error_text(raw)}")
    choices = raw.get("choices")
    if not isinstance(choices, list) or not choices:
        raise MalformedCompletion("there are no choices")
    choice = _object(choices[0], "the first choice")
    return ChatCompletion(
        message=_read_message(_object(choice.get("message"), "its message")),
        finish_reason=_text_or_none(choice.get("finish_reason")),
        usage=_read_usage(raw.get("usage")),
        model=_text_or_none(raw.get("model")) or "",
        tokens=read_tokens(raw),
        raw=raw,
    )


def error_text(body: Any) -> str:
    """The message inside an error body of the OpenAI, vLLM or FastAPI shape; empty when there is none."""
    for key in ("error", "message", "detail"):
        found = member(body, key)
        if isinstance(found, Mapping):
            found = found.get("message")
        if isinstance(found, str) and found:
            return found
    return ""


def text_of(content: Any) -> str:
    """The text of a message's content: a string, or content parts of which only text counts."""
    if isinstance(content, str):
        return content
    if not isinstance(content, Sequence):
        return ""
    return "".join(str(member(part, "text") or "") for part in content)


def extract_reasoning(message: Any) -> str | None:
    """The reasoning beside a message's content, in the first of the formats that providers use.

    ``reasoning_content`` (vLLM, SGLang, DeepSeek), ``reasoning`` (OpenRouter, newer vLLM), then
    ``reasoning_details[].text`` (OpenRouter). ``<think>`` inside the content is not touched.
    """
    for name in ("reasoning_content", "reasoning"):
        told = member(message, name)
        if isinstance(told, str) and told:
            return told
    return _first_detail(member(message, "reasoning_details"))


def _first_detail(details: Any) -> str | None:
    if not isinstance(details, Sequence):
        return None
    texts = (member(detail, "text") for detail in details)
    return next((text for text in texts if isinstance(text, str) and text), None)


def _read_message(message: Mapping[str, Any]) -> ChatMessage:
    calls = message.get("tool_calls") or []
    if not isinstance(calls, list):
        raise MalformedCompletion("tool_calls is not a list")
    return ChatMessage(
        content=text_of(message.get("content")),
        tool_calls=tuple(_object(call, "a tool call") for call in calls),
        reasoning=extract_reasoning(message),
        role=_text_or_none(message.get("role")) or "assistant",
    )


def _read_usage(usage: Any) -> Usage | None:
    if not isinstance(usage, Mapping):
        return None
    prompt, completion = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
    total = _count(usage, "total_tokens") or prompt + completion
    return Usage(prompt_tokens=prompt, completion_tokens=completion, total_tokens=total)


def _count(usage: Mapping[str, Any], name: str) -> int:
    value = usage.get(name)
    return value if isinstance(value, int) else 0


def _object(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise MalformedCompletion(f"{what} is not a JSON object")
    return value


def _text_or_none(value: Any) -> str | None:
    return value if isinstance(value, str) else None
