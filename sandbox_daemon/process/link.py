"""The daemon's end of one agent: a socket, and every pipe of what runs behind it, watched by one task.

All descriptors of a slot sit in one epoll set of their own, and the pump waits for that set: a wake-up of
Trio's scheduler costs more than everything else done here, and three tasks for a command would mean three of
them. What the pump does on a wake-up is synchronous and bounded: at most one read per pipe and a few
messages.

What the agent says is hostile input: unknown ids are ignored, malformed messages and floods end the link.
"""

from __future__ import annotations

import array
import os
import select
import socket
from collections.abc import Callable, Sequence
from typing import Final

import trio

from sandbox_daemon.agent import protocol
from sandbox_daemon.process.outcome import AgentLostError

_MESSAGES_PER_WAKE: Final = 16
_MAX_STRAYS: Final = 1000
"""Unknown ids are late answers to calls that were given up; more than this many are a flood."""
_ANCILLARY_SPACE: Final = socket.CMSG_SPACE(4 * protocol.MAX_DESCRIPTORS)
_EVENTS_PER_WAKE: Final = 16

_buffer = bytearray(protocol.MAX_MESSAGE_BYTES + 1)
"""Shared by all links: it is only used between two checkpoints of one thread."""


class Message:
    """One message of the agent. ``descriptors`` belong to whoever takes it."""

    __slots__ = ("descriptors", "fixed", "kind", "strings")

    def __init__(
        self, kind: int, fixed: tuple[int, ...], strings: list[bytes], descriptors: list[int]
    ) -> None:
        self.kind = kind
        self.fixed = fixed
        self.strings = strings
        self.descriptors = descriptors

    def drop(self) -> None:
        """Nobody wants it."""
        for descriptor in self.descriptors:
            os.close(descriptor)


Receiver = Callable[["Message | None"], None]
"""Takes the answer to one call, or ``None`` when the link is lost. Synchronous; must not raise."""


class AgentLink:
    """Messages to and from one agent, and readiness of the pipes of what it runs.

    Args:
        sock: our end, a non-blocking SEQPACKET socket.
        name: for messages and logs.
    """

    def __init__(self, sock: socket.socket, *, name: str) -> None:
        self.name = name
        self._socket = sock
        self._epoll = select.epoll()
        self._epoll.register(sock.fileno(), select.EPOLLIN)
        self._watched: dict[int, Callable[[], object]] = {}
        self._receivers: dict[int, Receiver] = {}
        self._last_id = 0
        self._strays = 0
        self._scope = trio.CancelScope()
        self.lost: str | None = None
        """Why the link ended; ``None`` while it lives."""

    def __repr__(self) -> str:
        state = "up" if self.lost is None else f"lost: {self.lost}"
        return f"<AgentLink {self.name} {state}, {len(self._receivers)} calls, {len(self._watched)} pipes>"

    async def pump(self) -> None:
        """Serves the link until it is lost or closed.

        Cancellation: poisons; calls under way learn that the link is lost.
        """
        try:
            await trio.lowlevel.checkpoint()
            with self._scope:
                while self.lost is None:
                    await trio.lowlevel.wait_readable(self._epoll.fileno())
                    self._dispatch()
        finally:
            self._end("closed")

    def close(self) -> None:
        """Ends the link from this side; an agent that hears it leaves, and its processes with it."""
        self._scope.cancel()

    def next_id(self) -> int:
        """A call id this link has not used."""
        self._last_id += 1
        return self._last_id

    def send(self, message: bytes, descriptors: Sequence[int] = ()) -> None:
        """Sends one message.

        Raises:
            AgentLostError: the link is lost, or the agent has stopped listening.
        """
        if self.lost is not None:
            raise AgentLostError(f"the agent of {self.name} is gone: {self.lost}")
        rights = (
            [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        )
        try:
            self._socket.sendmsg([message], rights)
        except OSError as error:
            # A full buffer means that an agent with at most a handful of messages to read does not read.
            self._lose(f"send: {error.strerror}")
            raise AgentLostError(f"the agent of {self.name} is gone: {self.lost}") from error

    def expect(self, call_id: int, receiver: Receiver) -> None:
        """Routes the answer to ``call_id``, once."""
        self._receivers[call_id] = receiver

    def forget(self, call_id: int) -> None:
        """Ignores the answer to ``call_id`` should it still come."""
        self._receivers.pop(call_id, None)

    async def ask(
        self,
        kind: int,
        fixed: tuple[int, ...] = (),
        strings: tuple[bytes, ...] = (),
        *,
        descriptors: Sequence[int] = (),
    ) -> Message:
        """Sends one message and waits for its answer.

        Cancellation: abandons; what the agent is doing it does to the end, its answer is ignored.

        Raises:
            AgentLostError: the link is lost.
        """
        call_id = self.next_id()
        arrived = trio.Event()
        answers: list[Message | None] = []

        def receive(message: Message | None) -> None:
            answers.append(message)
            arrived.set()

        self.send(protocol.pack(kind, call_id, fixed, strings), descriptors)
        self.expect(call_id, receive)
        try:
            await arrived.wait()
        except trio.Cancelled:
            self.forget(call_id)
            if answers and answers[0] is not None:
                answers[0].drop()
            raise
        if answers[0] is None:
            raise AgentLostError(f"the agent of {self.name} is gone: {self.lost}")
        return answers[0]

    def watch(self, descriptor: int, handler: Callable[[], object], *, events: int = select.EPOLLIN) -> None:
        """Calls ``handler`` whenever the pipe is readable or ended. Unwatch before closing it."""
        self._watched[descriptor] = handler
        self._epoll.register(descriptor, events)

    def unwatch(self, descriptor: int) -> None:
        """Stops it. Harmless for what is not watched."""
        if self._watched.pop(descriptor, None) is not None and not self._epoll.closed:
            self._epoll.unregister(descriptor)

    def _dispatch(self) -> None:
        for descriptor, _ in self._epoll.poll(0, _EVENTS_PER_WAKE):
            handler = self._watched.get(descriptor)
            if handler is not None:
                handler()
            elif descriptor == self._socket.fileno():
                self._receive()

    def _receive(self) -> None:
        """Takes the messages that are there; ends the link at its end of file."""
        for _ in range(_MESSAGES_PER_WAKE):
            try:
                size, ancillary, _, _ = self._socket.recvmsg_into(
                    [_buffer], _ANCILLARY_SPACE, socket.MSG_CMSG_CLOEXEC
                )
            except BlockingIOError:
                return
            except OSError as error:
                self._lose(f"receive: {error.strerror}")
                return
            if size == 0:
                self._lose("it ended")
                return
            self._route(bytes(memoryview(_buffer)[:size]), _descriptors(ancillary))
            if not self._receivers:  # nothing more is expected; what comes all the same wakes us again
                return

    def _route(self, data: bytes, descriptors: list[int]) -> None:
        try:
            kind, call_id, fixed, strings = protocol.unpack(data)
        except ValueError as error:
            Message(0, (), [], descriptors).drop()
            self._lose(f"it said something malformed: {error}")
            return
        message = Message(kind, fixed, strings, descriptors)
        receiver = self._receivers.pop(call_id, None)
        if receiver is not None:
            receiver(message)
            return
        message.drop()
        self._strays += 1
        if self._strays > _MAX_STRAYS:
            self._lose("it talks without being asked")

    def _lose(self, reason: str) -> None:
        if self.lost is None:
            self.lost = reason
            self._scope.cancel()
            receivers, self._receivers = self._receivers, {}
            for receiver in receivers.values():
                receiver(None)

    def _end(self, reason: str) -> None:
        self._lose(reason)
        self._epoll.close()
        self._watched.clear()
        self._socket.close()


def _descriptors(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    found = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            found.frombytes(data[: len(data) - len(data) % found.itemsize])
    return list(found)
