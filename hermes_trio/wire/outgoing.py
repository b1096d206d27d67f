"""What waits to be written on the present link, and the order in which it is packed into messages.

Link frames are not kept beyond their link, and of each kind only the latest means anything. So each has one
place here and no queue, and a peer that never reads cannot make this side hold more than one of each.
"""

from __future__ import annotations

from attrs import define, field

from hermes_trio.wire.codec import encode_frame
from hermes_trio.wire.frames import Ack, Heartbeat
from hermes_trio.wire.window import ReceiveWindow, SendWindow


@define
class Outgoing:
    """The link frames of one link.

    Attributes:
        greeting: hello or welcome; goes before everything.
        last_words: error or goodbye; nothing follows it.
        heartbeat: this side's.
        echo: the answer to the peer's.
        again: answers to duplicate calls, by their number in the window.
        flowing: whether session frames may travel: the link is open, or was when goodbye was said.
    """

    greeting: bytes | None = None
    last_words: bytes | None = None
    heartbeat: Heartbeat | None = None
    echo: Heartbeat | None = None
    again: dict[int, None] = field(factory=dict)
    flowing: bool = False

    def waits(self, window: SendWindow, inbox: ReceiveWindow) -> bool:
        """Whether :meth:`pack` would return anything."""
        if self.greeting is not None or self.last_words is not None:
            return True
        if not self.flowing:
            return False
        pulse = self.heartbeat is not None or self.echo is not None
        return pulse or inbox.due or bool(self.again) or window.has_waiting

    def pack(self, window: SendWindow, inbox: ReceiveWindow, budget: int) -> bytes:
        """Take whole frames for one message: greeting, link frames, session frames, last words.

        A first frame that is larger than the budget goes alone, so that nothing waits for ever.
        """
        message = _Message(budget)
        if self.greeting is not None:
            message.add(self.greeting)
            self.greeting = None
        if self.flowing:
            self._add_link_frames(message, inbox)
            self._add_answers(message, window)
            self._add_session_frames(message, window)
        if self.last_words is not None and not (self.flowing and window.has_waiting):
            message.add(self.last_words)
            self.last_words, self.flowing = None, False
        return b"".join(message.parts)

    def _add_link_frames(self, message: _Message, inbox: ReceiveWindow) -> None:
        if inbox.due:
            message.add(encode_frame(Ack(received=inbox.tell())))
        for pulse in (self.echo, self.heartbeat):
            if pulse is not None:
                message.add(encode_frame(pulse))
        self.echo = self.heartbeat = None

    def _add_answers(self, message: _Message, window: SendWindow) -> None:
        while self.again:
            sequence = next(iter(self.again))
            data = window.travelling(sequence)
            if data is not None and not message.takes(len(data)):
                return
            del self.again[sequence]
            message.add(data or b"")

    def _add_session_frames(self, message: _Message, window: SendWindow) -> None:
        while (size := window.next_size) and message.takes(size):
            message.add(window.take())


class _Message:
    """Frames for one message, within a budget."""

    def __init__(self, budget: int) -> None:
        self.parts: list[bytes] = []
        self._left = budget

    def takes(self, size: int) -> bool:
        return size <= self._left or not self.parts

    def add(self, data: bytes) -> None:
        self.parts.append(data)
        self._left -= len(data)
