"""A link with bad luck, by a seed: what networks, proxies and half-dead hosts do, and a little more.

Put it around the executor's end of a link (``MemoryBackend(..., wrap=...)``); it sees both directions. A wire
that is TCP never duplicates or reorders; that these are here costs a session nothing, and shows that it does
not rely on it.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Never, final

import trio
from attrs import define, field, frozen

from hermes_trio.errors import BrokenLinkError
from hermes_trio.link.message import MessageLink

_PREFIX_BYTES = 8


@frozen(kw_only=True)
class Faults:
    """The chance of each fault, per message, from 0 to 1.

    Args:
        delay: it takes its time, up to ``max_delay_s``.
        cut: the link breaks; the message is lost, and whatever is on its way the other way.
        tear: a piece of the message arrives, then the link breaks.
        split: it arrives as two messages, cut anywhere.
        duplicate: it arrives twice.
        reorder: its frames arrive in another order.
        stall: nothing moves in this direction for ``stall_s``.
        half_close: from here on whatever goes this way vanishes, and nobody is told.
        max_delay_s: longest delay, in seconds.
        stall_s: length of a stall, in seconds.
    """

    delay: float = 0.0
    cut: float = 0.0
    tear: float = 0.0
    split: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    stall: float = 0.0
    half_close: float = 0.0
    max_delay_s: float = 0.5
    stall_s: float = 8.0

    @property
    def chances(self) -> Mapping[str, float]:
        """By name, those that exclude each other."""
        names = ("cut", "tear", "split", "duplicate", "reorder", "half_close")
        return {name: getattr(self, name) for name in names}


ROUGH = Faults(
    delay=0.2, cut=0.01, tear=0.01, split=0.05, duplicate=0.01, reorder=0.005, stall=0.005, half_close=0.002
)
"""Everything that can happen, often enough that a few hundred messages see all of it."""


@define
class _Way:
    """One direction."""

    dead: bool = False
    """Half-closed: what goes in never comes out."""
    stalled_until: float = 0.0
    late: list[bytes] = field(factory=list)
    """Arrived, and not handed on yet. Receiving is cancellation-atomic, so these outlive a cancel."""


@final
class FaultyLink(MessageLink):
    """A link around another one. What goes wrong is drawn from ``dice``, and noted in ``happened``.

    Args:
        inner: the link that works.
        faults: how often it does not.
        dice: the source of bad luck; a seeded one makes it the same each time.
    """

    def __init__(self, inner: MessageLink, *, faults: Faults, dice: random.Random) -> None:
        self.happened: list[str] = []
        self._inner = inner
        self._faults = faults
        self._dice = dice
        self._out, self._in = _Way(), _Way()
        self._broken = False

    def __repr__(self) -> str:
        return f"<FaultyLink {len(self.happened)} faults around {self._inner!r}>"

    async def send_message(self, data: bytes) -> None:
        """See :meth:`MessageLink.send_message`. Cancellation: poisons."""
        await self._pass_time(self._out)
        for piece in self._fate(self._out, data):
            await self._inner.send_message(piece)
        if self._broken:
            await self._break()

    async def receive_message(self) -> bytes:
        """See :meth:`MessageLink.receive_message`. Cancellation: atomic."""
        await trio.lowlevel.checkpoint()
        way = self._in
        while not way.late:
            if self._broken:
                await self._break()
            data = await self._inner.receive_message()
            way.late.extend(self._fate(way, data))
        await self._pass_time(way)
        return way.late.pop(0)

    async def aclose(self) -> None:
        """See :meth:`MessageLink.aclose`. Cancellation: shielded, at most ``close_timeout`` s."""
        await self._inner.aclose()

    def abort(self) -> None:
        """See :meth:`MessageLink.abort`."""
        self._inner.abort()

    async def _pass_time(self, way: _Way) -> None:
        """Delays and stalls; both directions go on for themselves."""
        faults, now = self._faults, trio.current_time()
        if self._lucky(faults.stall):
            self._note("stall")
            way.stalled_until = now + faults.stall_s
        delay_s = self._dice.uniform(0, faults.max_delay_s) if self._lucky(faults.delay) else 0.0
        await trio.sleep_until(max(way.stalled_until, now + delay_s))

    def _fate(self, way: _Way, data: bytes) -> list[bytes]:
        """What becomes of a message: the messages that arrive instead of it."""
        if way.dead:
            return []
        match self._draw():
            case "cut":
                self._broken = True
                return []
            case "tear":
                self._broken = True
                return [data[: self._dice.randrange(len(data))]]
            case "split":
                at = self._dice.randrange(len(data) + 1)
                return [data[:at], data[at:]]
            case "duplicate":
                return [data, data]
            case "reorder":
                frames = split_frames(data)
                self._dice.shuffle(frames)
                return [b"".join(frames)]
            case "half_close":
                way.dead = True
                return []
            case _:
                return [data]

    async def _break(self) -> Never:
        await self._inner.aclose()
        raise BrokenLinkError("the link was cut")

    def _draw(self) -> str:
        throw = self._dice.random()
        for name, chance in self._faults.chances.items():
            throw -= chance
            if throw < 0:
                self._note(name)
                return name
        return ""

    def _lucky(self, chance: float) -> bool:
        return chance > 0 and self._dice.random() < chance

    def _note(self, fault: str) -> None:
        self.happened.append(fault)


def split_frames(data: bytes) -> list[bytes]:
    """The frames of a message; what is no whole frame stays in one piece at the end."""
    frames = []
    while len(data) >= _PREFIX_BYTES:
        size = _PREFIX_BYTES + int.from_bytes(data[:4], "big") + int.from_bytes(data[4:8], "big")
        frames.append(data[:size])
        data = data[size:]
    return [*frames, data] if data else frames
