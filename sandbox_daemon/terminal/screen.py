"""What a terminal shows: pyte's emulation, with what full-screen programs need beyond it.

pyte knows no alternate screen, no scrolling by command, no repetition, and prints the strings of device
control sequences. It is asked only when somebody wants to see the screen, and for a bounded number of bytes:
see ``pty.py``. Whatever bytes come, nothing is raised and nothing grows without bound.
"""

from __future__ import annotations

import itertools
import re
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import pyte
import pyte.modes
from attrs import frozen

SCROLLBACK_LINES: Final = 1000
_ALTERNATE: Final = frozenset({47, 1047, 1049})
_PRIVATE_SHIFT: Final = 5
"""How pyte tells private modes from others."""
_APPLICATION_CURSOR: Final = 1 << _PRIVATE_SHIFT
_BRACKETED_PASTE: Final = 2004 << _PRIVATE_SHIFT
_MAX_STRING_BYTES: Final = 4096

# Strings for the device (DCS, SOS, OSC, PM, APC), which also end where another sequence begins; and sequences
# with intermediates, which pyte misreads.
_UNSEEN: Final = re.compile(
    rb"\x1b[PX\]^_][^\x1b\x07]*(?:\x07|\x1b\\|(?=\x1b[^\\]))"
    rb"|\x1b\[[<=>][0-9;:]*[@-~]|\x1b\[[0-9;?]*[ !\"#$%&'*+][@-~]",
    re.DOTALL,
)
_UNFINISHED: Final = re.compile(
    rb"\x1b(?:[PX\]^_][^\x1b\x07]*\x1b?|\[[0-9;:<=>?]*[ !\"#$%&'*+]?)?\Z", re.DOTALL
)


@frozen(kw_only=True)
class ScreenShot:
    """What is to be seen. Lines without the spaces at their ends."""

    lines: tuple[str, ...]
    scrollback: tuple[str, ...]
    cursor: tuple[int, int]
    """Row and column, from 0."""
    alternate: bool


class _Screen(pyte.Screen):
    """pyte's screen, with an alternate one, scrolling, and lines that go up into a scrollback of text."""

    def __init__(self, columns: int, rows: int) -> None:
        self.scrollback: deque[str] = deque(maxlen=SCROLLBACK_LINES)
        self.replies: list[bytes] = []
        self._main: tuple[Any, Any] | None = None
        self._drawn = " "
        super().__init__(columns, rows)

    @property
    def alternate(self) -> bool:
        return self._main is not None

    def reset(self) -> None:
        self._main = None
        super().reset()

    def write_process_input(self, data: str) -> None:
        if len(self.replies) < 64:
            self.replies.append(data.encode())

    def draw(self, data: str) -> None:
        super().draw(data)
        self._drawn = data[-1:] or self._drawn

    def repeat(self, count: int | None = None) -> None:
        super().draw(self._drawn * min(count or 1, self.columns * self.lines))

    def index(self) -> None:
        top, bottom = self.margins or (0, self.lines - 1)
        if self.cursor.y == bottom and top == 0 and not self.alternate:
            self.scrollback.append(self.text_of(0))
        super().index()

    def text_of(self, row: int) -> str:
        """One line as text."""
        line = self.buffer[row]
        return "".join(line[column].data for column in range(self.columns)).rstrip()

    def scroll_up(self, count: int | None = None) -> None:
        self._at_margin(1, self.index, count)

    def scroll_down(self, count: int | None = None) -> None:
        self._at_margin(0, self.reverse_index, count)

    def _at_margin(self, edge: int, move: Callable[[], None], count: int | None) -> None:
        row = self.cursor.y
        self.cursor.y = (self.margins or (0, self.lines - 1))[edge]
        for _ in range(min(count or 1, self.lines)):
            move()
        self.cursor.y = row

    def back_tab(self, count: int | None = None) -> None:
        for _ in range(min(count or 1, self.columns)):
            stops = [stop for stop in self.tabstops if stop < self.cursor.x]
            self.cursor.x = max(stops, default=0)

    def set_mode(self, *modes: int, **more: Any) -> None:
        if more.get("private") and _ALTERNATE.intersection(modes) and self._main is None:
            self._main = (self.buffer.copy(), (self.cursor.y, self.cursor.x))
            self.buffer.clear()
            self.dirty.update(range(self.lines))
        super().set_mode(*modes, **more)

    def reset_mode(self, *modes: int, **more: Any) -> None:
        if more.get("private") and _ALTERNATE.intersection(modes) and self._main is not None:
            lines, (row, column) = self._main
            self._main = None
            self.buffer.clear()
            self.buffer.update(lines)
            self.set_margins()
            self.cursor.y, self.cursor.x = min(row, self.lines - 1), min(column, self.columns - 1)
        super().reset_mode(*modes, **more)


class _Stream(pyte.ByteStream):
    csi = {  # noqa: RUF012 - the base class has it as this
        **pyte.ByteStream.csi,
        "S": "scroll_up",
        "T": "scroll_down",
        "b": "repeat",
        "Z": "back_tab",
        "s": "save_cursor",
        "u": "restore_cursor",
    }
    events = frozenset(
        itertools.chain(pyte.ByteStream.events, ("scroll_up", "scroll_down", "repeat", "back_tab"))
    )


class Emulator:
    """A screen that is fed bytes. Not for two threads at once."""

    def __init__(self, *, columns: int, rows: int) -> None:
        self._screen = _Screen(columns, rows)
        for event in _Stream.events:
            setattr(self._screen, event, _forgiving(getattr(self._screen, event)))
        self._stream = _Stream(self._screen)
        self._unfinished = b""

    def feed(self, data: bytes) -> bytes:
        """Takes the next bytes of the program's output; what the terminal answers to them."""
        data = _UNSEEN.sub(b"", self._unfinished + data)
        tail = _UNFINISHED.search(data)
        self._unfinished = b"" if tail is None else data[tail.start() :]
        if len(self._unfinished) > _MAX_STRING_BYTES:
            self._unfinished = self._unfinished[:2]  # a string without end: its beginning is all that matters
        self._stream.feed(data if tail is None else data[: tail.start()])
        replies, self._screen.replies = b"".join(self._screen.replies), []
        return replies

    def resize(self, *, columns: int, rows: int) -> None:
        """The terminal has another size now."""
        self._screen.resize(rows, columns)

    @property
    def application_cursor(self) -> bool:
        """Whether the program asked for other arrow keys."""
        return _APPLICATION_CURSOR in self._screen.mode

    @property
    def bracketed_paste(self) -> bool:
        """Whether the program wants to know what was pasted."""
        return _BRACKETED_PASTE in self._screen.mode

    def shot(self, *, scrollback_lines: int = 0) -> ScreenShot:
        """What is to be seen now."""
        above = list(self._screen.scrollback)
        return ScreenShot(
            lines=tuple(map(self._screen.text_of, range(self._screen.lines))),
            scrollback=tuple(above[-scrollback_lines:]) if scrollback_lines else (),
            cursor=(self._screen.cursor.y, self._screen.cursor.x),
            alternate=self._screen.alternate,
        )


def _forgiving(method: Callable[..., Any]) -> Callable[..., Any]:
    """Pyte hands a sequence's parameters to its methods whatever their number; too many are no crash here."""

    def call(*arguments: Any, **more: Any) -> Any:
        try:
            return method(*arguments, **more)
        except (TypeError, ValueError, LookupError, ArithmeticError, NameError, AttributeError):
            return None

    return call
