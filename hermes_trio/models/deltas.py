"""A streamed chat completion put together again. PURE.

Chunks go into :class:`CompletionAssembler`, the body that the server would have sent unstreamed comes out, so
that there is one reader for both (:func:`hermes_trio.models.completion.read_completion`). Only the first
choice is kept.

Source: OpenAI API reference, "The chat completion chunk object"; vLLM and SGLang for token ids in chunks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import define, field, frozen

from hermes_trio.models.completion import MalformedCompletion, error_text

DONE = "[DONE]"

_TEXTS = ("content", "reasoning_content", "reasoning", "refusal")
"""Members of a message that grow by appending."""

_IDS = ("token_ids", "response_token_ids")
"""Members of a choice that grow by appending. ``prompt_token_ids`` comes once."""


@frozen(kw_only=True)
class ChatDelta:
    """What one chunk adds.

    Args:
        content: text to append; may be empty.
        reasoning: reasoning to append; may be empty.
        tool_calls: pieces of tool calls as the server sent them, each with an ``index``.
        finish_reason: in the last chunk that has a choice.
        raw: the chunk.
    """

    content: str = ""
    reasoning: str = ""
    tool_calls: tuple[Mapping[str, Any], ...] = ()
    finish_reason: str | None = None
    raw: Mapping[str, Any] = field(factory=dict, repr=False)

    @property
    def text_chars(self) -> int:
        """How much text it adds to a transcript."""
        functions = (piece.get("function") for piece in self.tool_calls)
        arguments = (_text(each.get("arguments")) for each in functions if isinstance(each, Mapping))
        return len(self.content) + len(self.reasoning) + sum(map(len, arguments))


@define
class _Call:
    """One tool call in the making. Its texts are joined at the end: appending to text costs its length."""

    id: str = ""
    name: list[str] = field(factory=list)
    arguments: list[str] = field(factory=list)

    def add(self, piece: Mapping[str, Any]) -> None:
        self.id = self.id or _text(piece.get("id"))
        function = piece.get("function")
        if not isinstance(function, Mapping):
            return
        name = _text(function.get("name"))
        if name and name != "".join(self.name):  # some servers repeat the name in every piece
            self.name.append(name)
        self.arguments.append(_text(function.get("arguments")))

    def body(self) -> dict[str, Any]:
        function = {"name": "".join(self.name), "arguments": "".join(self.arguments)}
        return {"id": self.id, "type": "function", "function": function}


class CompletionAssembler:
    """Fed with the decoded chunks of one stream, in order."""

    def __init__(self) -> None:
        self.finish_reason: str | None = None
        self.has_choice = False
        self._texts: dict[str, list[str]] = {name: [] for name in _TEXTS}
        self._details: list[Any] = []
        self._calls: dict[int, _Call] = {}
        self._last_call = -1
        self._logprobs: list[Any] = []
        self._ids: dict[str, list[Any]] = {}
        self._choice: dict[str, Any] = {}
        self._body: dict[str, Any] = {}

    def feed(self, chunk: Any) -> ChatDelta:
        """Take in one chunk.

        Raises:
            MalformedCompletion: it is no chunk, or it is an error.
        """
        if not isinstance(chunk, Mapping):
            raise MalformedCompletion("a chunk is not a JSON object")
        if chunk.get("error"):
            raise MalformedCompletion(f"it sent an error: {error_text(chunk)}")
        told = {name: value for name, value in chunk.items() if name != "choices" and value is not None}
        self._body |= told
        choice = _first_choice(chunk)
        return ChatDelta(raw=chunk) if choice is None else self._take_choice(choice, chunk)

    def _take_choice(self, choice: Mapping[str, Any], chunk: Mapping[str, Any]) -> ChatDelta:
        self.has_choice = True
        self._take_tokens(choice)
        finish_reason = _text(choice.get("finish_reason")) or None
        self.finish_reason = finish_reason or self.finish_reason
        delta = choice.get("delta")
        delta = delta if isinstance(delta, Mapping) else {}
        for name in _TEXTS:
            self._texts[name].append(_text(delta.get(name)))
        self._details += _list(delta.get("reasoning_details"))
        pieces = tuple(piece for piece in _list(delta.get("tool_calls")) if isinstance(piece, Mapping))
        for piece in pieces:
            self._call_of(piece).add(piece)
        return ChatDelta(
            content=_text(delta.get("content")),
            reasoning=_text(delta.get("reasoning_content")) or _text(delta.get("reasoning")),
            tool_calls=pieces,
            finish_reason=finish_reason,
            raw=chunk,
        )

    def _take_tokens(self, choice: Mapping[str, Any]) -> None:
        logprobs = choice.get("logprobs")
        if isinstance(logprobs, Mapping):
            self._logprobs += _list(logprobs.get("content"))
        for name in _IDS:
            self._ids.setdefault(name, []).extend(_list(choice.get(name)))
        for name in ("prompt_token_ids", "meta_info"):
            if choice.get(name) is not None:
                self._choice[name] = choice[name]

    def _call_of(self, piece: Mapping[str, Any]) -> _Call:
        """By index; servers without one send a new id for a new call."""
        index = piece.get("index")
        if not isinstance(index, int):
            last = self._calls.get(self._last_call)
            is_new = last is None or bool(piece.get("id") and last.id and piece["id"] != last.id)
            index = self._last_call + is_new
        self._last_call = index
        return self._calls.setdefault(index, _Call())

    def body(self) -> dict[str, Any]:
        """The whole answer, in the shape of one that was not streamed."""
        message: dict[str, Any] = {"role": "assistant", "content": None}
        message |= {name: text for name, parts in self._texts.items() if (text := "".join(parts))}
        if self._details:
            message["reasoning_details"] = self._details
        if self._calls:
            message["tool_calls"] = [self._calls[index].body() for index in sorted(self._calls)]
        choice = {"index": 0, "message": message, "finish_reason": self.finish_reason} | self._choice
        choice |= {name: ids for name, ids in self._ids.items() if ids}
        if self._logprobs:
            choice["logprobs"] = {"content": self._logprobs}
        return self._body | {"object": "chat.completion", "choices": [choice]}


def _first_choice(chunk: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """That of index 0: a server that was asked for several sends them in any order."""
    choices = (choice for choice in _list(chunk.get("choices")) if isinstance(choice, Mapping))
    return next((choice for choice in choices if not choice.get("index")), None)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
