"""Server-sent events, as far as model servers use them: bytes in, the data of events out. PURE.

Line ends may be LF, CRLF or CR and may be cut anywhere, comments keep connections alive, fields other than
``data`` say nothing to us. An event ends at an empty line; one that the end of the stream cut off is given
too (:meth:`SseDecoder.finish`): servers forget the empty line behind ``[DONE]``.

Source: WHATWG HTML Living Standard, 9.2 "Server-sent events".
"""

from __future__ import annotations

from collections.abc import Iterator

MAX_EVENT_BYTES = 16 * 1024 * 1024
"""The first event of a stream may carry the prompt's token ids; a million of them take 7 MiB."""


class EventTooLong(Exception):
    """An event is longer than it may be. The decoder must not be fed again."""


class SseDecoder:
    """Fed with what arrives, in pieces of any size.

    Args:
        max_event_bytes: of one event, its line ends and other fields included.
    """

    def __init__(self, *, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_event_bytes = max_event_bytes
        self._line = bytearray()
        self._data: list[bytes] = []
        self._size = 0
        self._after_cr = False
        self._at_start = True

    def feed(self, data: bytes) -> tuple[str, ...]:
        """The data of the events that are whole now.

        Raises:
            EventTooLong: one has become longer than ``max_event_bytes``.
        """
        return tuple(self._events(self._with_one_line_end(data)))

    def finish(self) -> tuple[str, ...]:
        """The data of an event that no empty line ended, at the end of the stream."""
        return self.feed(b"\n\n")

    def _with_one_line_end(self, data: bytes) -> bytes:
        if self._after_cr and data.startswith(b"\n"):
            data = data[1:]
            self._after_cr = False
        if data:
            self._after_cr = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _events(self, data: bytes) -> Iterator[str]:
        *ended, rest = data.split(b"\n")
        for piece in ended:
            self._grow(len(piece) + 1)
            line = bytes(self._line + piece)
            self._line.clear()
            if line:
                self._take(line)
            else:
                yield from self._dispatch()
        self._grow(len(rest))
        self._line += rest

    def _grow(self, size: int) -> None:
        self._size += size
        if self._size > self._max_event_bytes:
            raise EventTooLong

    def _take(self, line: bytes) -> None:
        if self._at_start:
            line, self._at_start = line.removeprefix(b"\xef\xbb\xbf"), False
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" "))
        elif not name:
            self._size -= len(line) + 1  # a comment; hours of them are no event

    def _dispatch(self) -> Iterator[str]:
        data, self._data, self._size = self._data, [], 0
        if data:
            yield b"\n".join(data).decode("utf-8", "replace")
