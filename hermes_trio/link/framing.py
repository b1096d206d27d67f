"""Makes wsproto quick where bytes are many: the payloads of binary messages.

Theory of operation. A client masks all that it sends (RFC 6455, 5.3), and wsproto (1.2 and 1.3) does that
with four strided copies in Python: 0.2 to 0.4 GB/s at each end, more time than all else on an upload's way.
The same exclusive-or in C, which the package `websockets` brings, does 16 GB/s. On the way in the library
also copies each byte four times where once does. So a connection's decoder is replaced by one that inherits
all that concerns headers and control frames, and whole binary messages are written here; all else stays the
library's.

Refused: a masking key of zeros, which costs nothing and which many clients use. The key is there so that
bytes that somebody else chose, such as a model, cannot pose as HTTP to a proxy on the way.
"""

from __future__ import annotations

import os
import struct
from typing import Final, final

from wsproto import WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import BytesMessage, Event
from wsproto.frame_protocol import Frame, FrameDecoder, Opcode, XorMaskerSimple


def apply_mask_plainly(data: bytes | bytearray | memoryview, mask: bytes | bytearray) -> bytes:
    """The exclusive or of data and a repeated mask, as wsproto does it."""
    return bytes(XorMaskerSimple(mask).process(bytearray(data)))


try:
    from websockets.speedups import apply_mask
except ImportError:  # there is no wheel for this machine
    apply_mask = apply_mask_plainly

_BINARY: Final = 0x80 | Opcode.BINARY  # and nothing follows
_MASKED: Final = 0x80
_SHORT: Final = 126  # two bytes of length follow
_LONG: Final = 127  # eight
_KEY_BYTES: Final = 4


def write_message(payload: bytes | bytearray, *, masked: bool) -> bytes:
    """A binary message as one frame.

    Args:
        payload: all of it.
        masked: it is a client's.
    """
    flag, size = _MASKED * masked, len(payload)
    if size < _SHORT:
        header = struct.pack(">BB", _BINARY, flag | size)
    elif size < 1 << 16:
        header = struct.pack(">BBH", _BINARY, flag | _SHORT, size)
    else:
        header = struct.pack(">BBQ", _BINARY, flag | _LONG, size)
    if not masked:
        return b"".join((header, payload))
    key = os.urandom(_KEY_BYTES)
    return b"".join((header, key, apply_mask(payload, key)))


@final
class QuickDecoder(FrameDecoder):
    """The library's, with the bytes of data frames copied once.

    Args:
        decoder: the one that it replaces, with what that has read.
    """

    def __init__(self, decoder: FrameDecoder) -> None:
        super().__init__(decoder.client, decoder.extensions)
        self.__dict__.update(decoder.__dict__)

    def process_buffer(self) -> Frame | None:
        """The next frame, or what there is of it."""
        if self.header is None and not self.parse_header():
            return None
        assert self.header is not None
        if self.header.opcode.iscontrol() or self.extensions:
            return super().process_buffer()
        left = self.header.payload_len - self.payload_consumed
        if left and not len(self.buffer):
            return None
        payload = self._take(left)
        self.payload_consumed += len(payload)
        ended = self.payload_consumed == self.header.payload_len
        assert self.effective_opcode is not None
        frame = Frame(self.effective_opcode, payload, ended, self.header.fin)
        self.effective_opcode = Opcode.CONTINUATION
        if ended:
            self.header = self.effective_opcode = self.masker = None
        return frame

    def _take(self, most: int) -> bytes:
        """Up to so many bytes of the payload, unmasked."""
        held = self.buffer.buffer
        with memoryview(held) as view, view[:most] as part:
            size = len(part)
            if isinstance(self.masker, XorMaskerSimple):
                turn = self.payload_consumed % _KEY_BYTES
                key = bytes(self.masker._masking_key)
                payload = apply_mask(part, key[turn:] + key[:turn])
            else:
                payload = bytes(part)
        del held[:size]
        return payload


def quicken(parser: WSConnection) -> None:
    """Let an open connection's parser do it this way. The library offers no other place for it."""
    connection, plainly = parser.connection, parser.send
    assert connection is not None
    connection._proto._frame_decoder = QuickDecoder(connection._proto._frame_decoder)

    def may_be_whole() -> bool:
        return connection.state is ConnectionState.OPEN and connection._proto._outbound_opcode is None

    def send(event: Event) -> bytes:
        if isinstance(event, BytesMessage) and event.message_finished and may_be_whole():
            return write_message(event.data, masked=connection.client)
        return plainly(event)

    parser.send = send  # type: ignore[method-assign]
