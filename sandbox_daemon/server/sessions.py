"""The sessions of a daemon: found again by their id when a link says hello.

A session lives in a task of its own, so that the end of a link ends nothing else. A link's handler only lends
its task to the session for as long as the link lasts.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import trio

from hermes_trio.errors import BrokenLinkError, RemoteProtocolError
from hermes_trio.link.background import open_background_nursery
from hermes_trio.link.message import MessageLink
from hermes_trio.telemetry.log import get_logger
from hermes_trio.wire.faults import PeerFault
from hermes_trio.wire.frames import TRACEPARENT_FEATURE, ErrorCode, Hello, SessionId
from hermes_trio.wire.session import Session
from sandbox_daemon.server.greeting import read_hello, say_why
from sandbox_daemon.server.host import Host
from sandbox_daemon.server.operations import OFFERED
from sandbox_daemon.server.peer import Peer

logger = get_logger(__name__)

FAREWELL_LIMIT_S: Final = 5.0
"""For ending what runs when a drain's grace is over, and for handing the results to the links."""


class Sessions:
    """The registry. Made by :func:`open_sessions`."""

    def __init__(self, host: Host, nursery: trio.Nursery) -> None:
        self._host = host
        self._nursery = nursery
        self._peers: dict[SessionId, Peer] = {}
        self._begun = 0

    def __repr__(self) -> str:
        return f"<Sessions {self.linked} of {len(self._peers)} linked>"

    def __len__(self) -> int:
        """Sessions that live, linked or not."""
        return len(self._peers)

    @property
    def linked(self) -> int:
        """Those that have a link."""
        return sum(peer.is_linked for peer in self._peers.values())

    async def serve(self, link: MessageLink) -> None:
        """Serve one link until it ends; its session goes on for ``lease_grace_s`` without one.

        Cancellation: poisons the link.
        """
        await trio.lowlevel.checkpoint()
        try:
            hello = await read_hello(link, self._host.limits)
            await self._find(hello).hold(link, hello)
        except BrokenLinkError as exc:
            logger.info("a peer was let go before its hello", reason=exc)
        except RemoteProtocolError as exc:
            logger.warning("a peer was refused", reason=exc)
            await say_why(link, exc)

    async def drain(self, grace_s: float) -> None:
        """Let what runs finish within the grace, end the rest with a result that says so, say goodbye.

        Cancellation: abandons; what still runs ends with its session.
        """
        self._host.draining.set()
        peers = list(self._peers.values())
        for peer in peers:
            peer.drain(grace_s)
        with trio.move_on_after(grace_s):
            await trio.lowlevel.checkpoint()
            for peer in peers:
                await peer.wait_quiet()
        with trio.move_on_after(FAREWELL_LIMIT_S):
            async with trio.open_nursery() as nursery:
                for peer in self._peers.values():
                    nursery.start_soon(peer.leave)

    def _find(self, hello: Hello) -> Peer:
        """The session that is meant, or a new one.

        Raises:
            RemoteProtocolError: there is no room for a new one.
        """
        peer = self._peers.get(hello.session_id)
        if peer is not None and not peer.is_over:
            return peer
        if self._host.draining.is_set():
            raise PeerFault("this daemon is draining", code=ErrorCode.BUSY)
        if len(self._peers) >= self._host.max_sessions:
            raise PeerFault(f"{self._host.max_sessions} sessions are open here", code=ErrorCode.BUSY)
        return self._begin(hello)

    def _begin(self, hello: Hello) -> Peer:
        host = self._host
        session = Session.for_daemon(
            hello,
            epoch=host.epoch,
            limits=host.limits,
            features=(*OFFERED, TRACEPARENT_FEATURE),
            slots=host.slots,
            isolation=host.isolation,
        )
        self._begun += 1
        # Not the id alone: a session that begins again must not be taken for the one that is being ended.
        peer = Peer(session, host=host, owner=f"{hello.session_id}/{self._begun}")
        self._peers[hello.session_id] = peer
        self._nursery.start_soon(self._live, peer)
        return peer

    async def _live(self, peer: Peer) -> None:
        def forget() -> None:
            if self._peers.get(peer.session_id) is peer:
                del self._peers[peer.session_id]

        await peer.live(on_over=forget)


@asynccontextmanager
async def open_sessions(host: Host) -> AsyncIterator[Sessions]:
    """A place for sessions. When the block ends, so do they: their calls are killed, their slots freed.

    Cancellation: shielded, at most 25 s (the slot pool's kill and reset).

    Args:
        host: what they share.
    """
    async with open_background_nursery() as nursery:
        yield Sessions(host, nursery)
