"""The resend window, and its counterpart on the receiving side.

Session frames are numbered from 1 in each direction. The sender keeps every frame until the peer has
acknowledged it; an acknowledgement is cumulative. When the session resumes on another link, what was not
acknowledged is sent again, in order, before anything new. The receiver takes each number once, in order.

Invariants of :class:`SendWindow`: ``frames <= max_frames`` and ``held_bytes <= max_bytes``; the frames held
are exactly ``acknowledged + 1 .. last``; those up to ``cursor`` have been handed to the present link.
"""

from __future__ import annotations

from collections import deque

from attrs import define, frozen

from hermes_trio.wire.faults import PeerFault
from hermes_trio.wire.frames import CallId


@frozen
class _Held:
    """A frame in the window.

    Attributes:
        data: its bytes.
        answers: the call of which it is the result, if it is one.
    """

    data: bytes
    answers: CallId | None


class SendWindow:
    """Frames that the peer has not acknowledged yet.

    Args:
        max_frames: bound on their number.
        max_bytes: bound on their size.
    """

    def __init__(self, *, max_frames: int, max_bytes: int) -> None:
        self.max_frames = max_frames
        self.max_bytes = max_bytes
        self.acknowledged = 0
        self.handed_out = 0
        """Highest number ever handed to a link: what the peer can possibly have."""
        self.held_bytes = 0
        self._waiting: deque[_Held] = deque()  # not handed to the present link yet
        self._travelling: deque[_Held] = deque()  # handed to it; older than all that wait

    @property
    def frames(self) -> int:
        """How many are held."""
        return len(self._travelling) + len(self._waiting)

    @property
    def last(self) -> int:
        """Highest number given out."""
        return self.acknowledged + self.frames

    @property
    def has_waiting(self) -> bool:
        """Whether something is to be handed to the present link."""
        return bool(self._waiting)

    def fits(self, size: int) -> bool:
        """Whether a frame of this size may be pushed now."""
        return self.frames < self.max_frames and self.held_bytes + size <= self.max_bytes

    def push(self, data: bytes, *, answers: CallId | None = None) -> None:
        """Hold a frame, numbered ``last + 1``. The caller has asked :meth:`fits`."""
        self._waiting.append(_Held(data, answers))
        self.held_bytes += len(data)

    @property
    def next_size(self) -> int:
        """Size of the frame that :meth:`take` would return; 0 when none waits."""
        return len(self._waiting[0].data) if self._waiting else 0

    def take(self) -> bytes:
        """Hand the next waiting frame to the present link."""
        held = self._waiting.popleft()
        self._travelling.append(held)
        self.handed_out = max(self.handed_out, self.acknowledged + len(self._travelling))
        return held.data

    def rewind(self) -> None:
        """Begin again on a new link with the oldest frame held."""
        self._waiting.extendleft(reversed(self._travelling))
        self._travelling.clear()

    def check_acknowledged(self, received: int) -> None:
        """Refuse a number that :meth:`acknowledge` would refuse.

        Raises:
            RemoteProtocolError: see there.
        """
        if not self.acknowledged <= received <= self.handed_out:
            raise PeerFault(
                f"acknowledged {received}, which is not between {self.acknowledged} and {self.handed_out}"
            )

    def acknowledge(self, received: int) -> list[CallId]:
        """Forget everything up to this number.

        Returns:
            The calls of which the peer now has the result.

        Raises:
            RemoteProtocolError: the number is higher than anything sent, or lower than what was said before.
        """
        self.check_acknowledged(received)
        answered = []
        while self.acknowledged < received:
            held = (self._travelling or self._waiting).popleft()
            self.acknowledged += 1
            self.held_bytes -= len(held.data)
            if held.answers is not None:
                answered.append(held.answers)
        return answered

    def travelling(self, sequence: int) -> bytes | None:
        """The bytes of a frame that was handed to the present link and is not acknowledged."""
        index = sequence - self.acknowledged - 1
        if 0 <= index < len(self._travelling):
            return self._travelling[index].data
        return None


@define
class ReceiveWindow:
    """What has arrived, and when to say so.

    Attributes:
        ack_frames: frames after which an acknowledgement is due.
        ack_bytes: bytes after which it is due.
        received: highest number received; all below it were, too.
        due: whether the peer should be told now.
    """

    ack_frames: int
    ack_bytes: int
    received: int = 0
    due: bool = False
    _told: int = 0
    _bytes: int = 0

    def take(self, sequence: int) -> bool:
        """Note a frame; returns whether it is new.

        Raises:
            RemoteProtocolError: a number was left out.
        """
        if sequence <= self.received:
            return False
        if sequence > self.received + 1:
            raise PeerFault(f"frame {sequence} where {self.received + 1} is next", path="seq")
        self.received = sequence
        return True

    def count(self, size: int) -> None:
        """Note how many bytes came; an acknowledgement may become due."""
        self._bytes += size
        if self.received - self._told >= self.ack_frames or self._bytes >= self.ack_bytes:
            self.offer()

    def offer(self) -> None:
        """Let an acknowledgement travel with what is sent next, if there is anything to acknowledge."""
        self.due = self.received > self._told

    def tell(self) -> int:
        """The number to put into a frame that is being written now."""
        self._told, self._bytes, self.due = self.received, 0, False
        return self.received
