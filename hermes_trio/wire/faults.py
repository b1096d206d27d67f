"""A violation by the peer, together with the code that its link is given up with."""

from __future__ import annotations

from hermes_trio.errors import RemoteProtocolError
from hermes_trio.wire.frames import ErrorCode


class PeerFault(RemoteProtocolError):
    """A :class:`RemoteProtocolError` that knows its error code.

    Attributes:
        code: what the error frame will say.
    """

    def __init__(self, message: str, *, path: str = "", code: ErrorCode = ErrorCode.PROTOCOL) -> None:
        super().__init__(message, path=path)
        self.code = code
