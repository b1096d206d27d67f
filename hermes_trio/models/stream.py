"""A completion that is read while it is generated."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any

import trio

from hermes_trio.errors import LocalProtocolError
from hermes_trio.models.completion import ChatCompletion, MalformedCompletion
from hermes_trio.models.deltas import DONE, ChatDelta, CompletionAssembler
from hermes_trio.models.request import decode_body
from hermes_trio.models.server import Answer
from hermes_trio.models.sse import EventTooLong, SseDecoder

DRAIN_LIMIT_S = 0.5
"""How long a server may take to end the message behind ``[DONE]``; then its connection is not used again."""


class ChatStream(AsyncIterator[ChatDelta]):
    """The deltas of one answer, then the whole of it. Made by :meth:`ChatClient.stream`.

    Iterate, or call :meth:`finish`; both in one task.
    """

    def __init__(self, answer: Answer, read: Callable[[Any], ChatCompletion]) -> None:
        self._answer = answer
        self._read = read
        self._decoder = SseDecoder()
        self._assembler = CompletionAssembler()
        self._waiting: deque[str] = deque()
        self._text_chars = 0
        self._is_done = False
        self._at_end = False
        self._completion: ChatCompletion | None = None

    @property
    def completion(self) -> ChatCompletion:
        """The whole answer.

        Raises:
            LocalProtocolError: it is not here yet: iterate to the end first.
        """
        if self._completion is None:
            raise LocalProtocolError("the stream has not been read to its end")
        return self._completion

    async def finish(self) -> ChatCompletion:
        """Read the rest.

        Cancellation: *poisons*: leave the block.

        Raises:
            ModelError: as in iterating.
        """
        async for _ in self:
            pass
        return self.completion

    async def __anext__(self) -> ChatDelta:
        """The next delta.

        Cancellation: *poisons*: leave the block.

        Raises:
            ModelConnectionError: the stream ended before the completion did.
            ModelResponseError: it is no stream of a completion.
        """
        await trio.lowlevel.checkpoint()
        while not self._waiting:
            if self._at_end:
                self._conclude()
                raise StopAsyncIteration
            await self._receive()
        try:
            delta = self._assembler.feed(decode_body(self._waiting.popleft().encode()))
        except MalformedCompletion as error:
            raise self._answer.server.malformed(str(error)) from error
        except ValueError as error:
            raise self._answer.server.malformed("an event of its stream is not JSON") from error
        self._text_chars += delta.text_chars
        self._answer.server.check_text(self._text_chars)
        return delta

    async def _receive(self) -> None:
        chunk = await self._answer.receive()
        try:
            events = self._decoder.feed(chunk) if chunk else self._decoder.finish()
        except EventTooLong as error:
            raise self._answer.server.malformed("an event of its stream is too long") from error
        self._waiting += (event for event in events if event.strip() != DONE)
        self._is_done = self._is_done or any(event.strip() == DONE for event in events)
        self._at_end = self._is_done or not chunk
        if self._is_done and chunk:
            await self._drain()

    async def _drain(self) -> None:
        """Take the end of the HTTP message, which comes with the last event: the connection then lives on."""
        with trio.move_on_after(DRAIN_LIMIT_S):
            while await self._answer.receive():
                pass

    def _conclude(self) -> None:
        if self._completion is not None:
            return
        if not self._is_done and self._assembler.finish_reason is None:
            raise self._answer.server.broken("its stream ended before the completion did")
        if not self._assembler.has_choice:
            raise self._answer.server.malformed("there are no choices")
        self._completion = self._read(self._assembler.body())
