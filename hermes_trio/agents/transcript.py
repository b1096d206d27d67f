"""The messages of one trajectory, and the calls in them that wait for an answer. PURE.

Two invariants: the answers of a turn stand right behind it, in the order of its calls; and every id occurs
once. After :meth:`Transcript.close` every call has exactly one answer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

from attrs import define, evolve

from hermes_trio.agents.answer import Answer, CallRequest
from hermes_trio.errors import InvalidInputError, LocalProtocolError
from hermes_trio.tools.render import error_content

_MAY_BE_ADDED = frozenset({"user", "system", "developer"})
"""Roles of messages that come from neither the model nor its calls."""


@define
class _OpenCall:
    request: CallRequest
    content: str | None = None
    """The answer, once there is one; it enters the transcript when all before it have."""


class Transcript:
    """See the module.

    Args:
        messages: grown in place.
    """

    def __init__(self, messages: list[dict[str, Any]]) -> None:
        self.messages = messages
        self._in_order: deque[_OpenCall] = deque()
        self._open: dict[str, _OpenCall] = {}
        self._ids = {call.get("id") for message in messages for call in message.get("tool_calls") or ()}

    @property
    def open_calls(self) -> tuple[CallRequest, ...]:
        """Those without an answer, in order."""
        return tuple(opened.request for opened in self._open.values())

    def add_turn(self, answer: Answer, *, turn: int) -> tuple[CallRequest, ...]:
        """Write down what the model said; its calls are open, each under an id of its own."""
        requests = tuple(self._with_own_id(turn, index, call) for index, call in enumerate(answer.calls))
        self.messages.append(_assistant_message(answer, requests))
        self._in_order = deque(map(_OpenCall, requests))
        self._open = {opened.request.call_id: opened for opened in self._in_order}
        return requests

    def _with_own_id(self, turn: int, index: int, request: CallRequest) -> CallRequest:
        """Ids tie answers to calls, and some servers leave them out or start over each turn."""
        call_id, attempt = request.call_id, 0
        while not call_id or call_id in self._ids:
            call_id = f"call_{turn}_{index}" + ("" if attempt == 0 else f"_{attempt}")
            attempt += 1
        self._ids.add(call_id)
        return evolve(request, call_id=call_id)

    def find_open(self, call_id: str) -> CallRequest:
        """The open call of this id.

        Raises:
            LocalProtocolError: there is none.
        """
        if call_id not in self._open:
            raise LocalProtocolError(f"no call '{call_id}' is open")
        return self._open[call_id].request

    def answer(self, request: CallRequest, content: str) -> None:
        """Answer an open call; the answers that are next in order enter the messages."""
        self._open.pop(request.call_id).content = content
        while self._in_order and self._in_order[0].content is not None:
            answered = self._in_order.popleft()
            call_id = answered.request.call_id
            self.messages.append({"role": "tool", "tool_call_id": call_id, "content": answered.content})

    def close(self, reason: str) -> None:
        """Answer whatever is open with this sentence. Idempotent."""
        for request in self.open_calls:
            self.answer(request, error_content(reason))

    def add(self, message: Mapping[str, Any]) -> None:
        """Add a message that is neither the model's nor a call's answer; no call may be open.

        Raises:
            InvalidInputError: it has another role than ``user``, ``system`` or ``developer``.
        """
        if message.get("role") not in _MAY_BE_ADDED:
            roles = ", ".join(sorted(_MAY_BE_ADDED))
            raise InvalidInputError(f"a message may be added with {roles}, not {message.get('role')!r}")
        self.messages.append(dict(message))


def _assistant_message(answer: Answer, requests: tuple[CallRequest, ...]) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": answer.content}
    if requests:
        message["tool_calls"] = [_call_message(request) for request in requests]
    if answer.reasoning:
        # Chat templates render the thoughts of earlier turns from this member (Kimi K2, DeepSeek).
        message["reasoning_content"] = answer.reasoning
    return message


def _call_message(request: CallRequest) -> dict[str, Any]:
    function = {"name": request.name, "arguments": request.arguments}
    return {"id": request.call_id, "type": "function", "function": function}
