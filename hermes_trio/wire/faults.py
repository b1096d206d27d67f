"""A violation by the peer, together with the code that its link is given up with."""

from __future__ import annotations

from hermes_trio.errors import RemoteProtocolError
from hermes_trio.wire.frames import PROTOCOL_VERSION, Error, ErrorCode

MAX_REASON_CHARACTERS = 500
"""Of the text in an error or a goodbye: link frames must fit into any message."""


class PeerFault(RemoteProtocolError):
    """A :class:`RemoteProtocolError` that knows its error code.

    Attributes:
        code: what the error frame will say.
    """

    def __init__(self, message: str, *, path: str = "", code: ErrorCode = ErrorCode.PROTOCOL) -> None:
        super().__init__(message, path=path)
        self.code = code


def version_fault(version: int, *, path: str) -> PeerFault:
    """The peer greets in another version."""
    message = f"this side speaks version {PROTOCOL_VERSION} of the protocol, the peer version {version}"
    return PeerFault(message, path=path, code=ErrorCode.VERSION)


def error_of(fault: RemoteProtocolError) -> Error:
    """The frame that tells the peer what it did. Also for a link that never got a session."""
    code = fault.code if isinstance(fault, PeerFault) else ErrorCode.PROTOCOL
    return Error(code=code, message=str(fault)[:MAX_REASON_CHARACTERS])
