"""What a link is: whole messages, in order, between two programs, until it ends.

:class:`MessageLink` is the contract; everything above this room is written against it alone.
:class:`RuledLink` keeps the part of the contract that does not depend on the transport (who may call what
and when, what an ending looks like), so that the websocket adapter and its in-memory twin cannot drift
apart. ``testing/link_conformance.py`` holds both to the rest.

Theory of operation. A link has one *fate*. While it has none, it carries messages. Its fate is sealed once,
by whichever comes first: :meth:`~MessageLink.aclose` on this side (``ClosedError`` from then on) or a send
that did not run to its end (``BrokenLinkError`` from then on). An ending that comes from outside is not
kept here: each direction reports it when it gets there, so that messages which had already arrived are
still received after a send has failed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import final

import trio

from hermes_trio.errors import BrokenLinkError, ClosedError


class MessageLink(trio.abc.AsyncResource, ABC):
    """A message-oriented, ordered, reliable connection. ``async with link:`` closes it at the end.

    At most one task sends and at most one task receives at a time (they may be two tasks). A second sender
    or receiver is a bug of the caller and gets ``trio.BusyResourceError``; the first one is not disturbed.
    """

    @abstractmethod
    async def send_message(self, data: bytes) -> None:
        """Hand one message to the transport; waits while the peer does not take what was sent before.

        Returning means that the message is on its way, not that it has arrived.

        Cancellation: poisons. A transport cannot take back half a message, so a send that does not run to
        its end breaks the link at once: nothing more travels in either direction and the peer sees a broken
        link, never a piece of a message presented as one. (A cancel that is already pending when the send is
        entered leaves the link as it was.)

        Raises:
            BrokenLinkError: the link ended, or an earlier send was cut short.
            ClosedError: this side has closed the link, before or during the send.
            trio.BusyResourceError: another task is sending.
        """

    @abstractmethod
    async def receive_message(self) -> bytes:
        """Wait for the next message. Messages arrive whole, once, in the order in which they were sent.

        What had arrived before the peer ended the link is received first.

        Cancellation: atomic. A message is either returned or stays for the next call.

        Raises:
            BrokenLinkError: the link ended: the peer closed or lost it, sent more than this side takes in
                one message, or broke the rules of the transport.
            ClosedError: this side has closed the link, before or during the call.
            trio.BusyResourceError: another task is receiving.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """End the link. Tells the peer, if it still listens; never raises what the peer causes; idempotent.

        Tasks that send or receive on this side are woken with ``ClosedError``.

        Cancellation: shielded, at most ``close_timeout`` s (chosen when the link was opened); after that the
        transport is dropped without ceremony.
        """

    @abstractmethod
    def abort(self) -> None:
        """Drop the link without a word, because nobody is believed to listen. Idempotent; still close it.

        Tasks that send or receive on this side are woken with ``BrokenLinkError``.
        """


class _Turn:
    """Held by the one task that may do ``verb`` now."""

    def __init__(self, verb: str, label: str) -> None:
        self._refusal = f"another task {verb} on the link {label} already"
        self._taken = False

    def __enter__(self) -> None:
        if self._taken:
            raise trio.BusyResourceError(self._refusal)
        self._taken = True

    def __exit__(self, *_: object) -> None:
        self._taken = False


class RuledLink(MessageLink):
    """The rules of a link, over four primitives of a transport.

    A transport implements :meth:`_transmit`, :meth:`_take` (both map their own errors to
    ``BrokenLinkError``), :meth:`_part` and :meth:`_drop`.

    Args:
        label: says in one word or URL which link this is; used in texts and ``repr``, so no secrets.
        close_timeout: seconds the polite part of closing may take.
    """

    def __init__(self, *, label: str, close_timeout: float) -> None:
        self._label = label
        self._close_timeout = close_timeout
        self._closed: trio.Event | None = None  # made when closing begins, set when it has ended
        self._torn = False
        self._sender = _Turn("sends", label)
        self._receiver = _Turn("receives", label)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._label} {self._state()}>"

    @abstractmethod
    async def _transmit(self, data: bytes) -> None:
        """Send; any exception out of here means that the transport is unusable."""

    @abstractmethod
    async def _take(self) -> bytes:
        """Receive; must be cancellation-atomic."""

    @abstractmethod
    async def _part(self) -> None:
        """Say goodbye to the peer. Runs under a shield with a deadline; may be cut short by it."""

    @abstractmethod
    def _drop(self) -> None:
        """Let go of the transport now, without waiting; wakes whoever waits on it. Idempotent."""

    @final
    async def send_message(self, data: bytes) -> None:
        """See :meth:`MessageLink.send_message`. Cancellation: poisons."""
        self._check_fate()
        with self._sender:
            await trio.lowlevel.checkpoint_if_cancelled()
            try:
                await self._transmit(data)
            except BrokenLinkError:
                self._check_fate()
                raise
            except BaseException:
                self._torn = True
                self._drop()
                raise

    @final
    async def receive_message(self) -> bytes:
        """See :meth:`MessageLink.receive_message`. Cancellation: atomic."""
        self._check_fate()
        with self._receiver:
            try:
                return await self._take()
            except BrokenLinkError:
                self._check_fate()
                raise

    @final
    async def aclose(self) -> None:
        """See :meth:`MessageLink.aclose`. Cancellation: shielded, at most ``close_timeout`` s."""
        if self._closed is not None:
            await self._closed.wait()
            return
        self._closed = trio.Event()
        try:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + self._close_timeout):
                await trio.lowlevel.checkpoint()
                if not self._torn:
                    await self._part()
        finally:
            self._drop()
            self._closed.set()

    @final
    def abort(self) -> None:
        """See :meth:`MessageLink.abort`."""
        self._torn = True
        self._drop()

    def _state(self) -> str:
        if self._closed is not None:
            return "closed" if self._closed.is_set() else "closing"
        return "torn" if self._torn else "open"

    def _check_fate(self) -> None:
        if self._closed is not None:
            raise ClosedError(f"the link {self._label} was closed on this side")
        if self._torn:
            raise BrokenLinkError(
                f"the link {self._label} is unusable: a send was cut short or it was given up"
            )
