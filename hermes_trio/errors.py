"""The one error tree, and the words for who failed.

::

    HermesTrioError
    ├── ClosedError              you used something after you closed it
    ├── BrokenLinkError          the world broke the link; open a new one
    ├── LostError                work was under way and its fate left with the other side
    │   ├── LinkLostError        the link went, and the call with it
    │   └── SandboxLostError     the daemon or the slot went, and the call with it
    ├── ProtocolError
    │   ├── LocalProtocolError   this side asked its own session for something the protocol forbids
    │   └── RemoteProtocolError  the peer sent something the protocol forbids
    ├── TooSlowError             a bound of ours passed (never a ``trio.TooSlowError``: a caller's
    │                            ``fail_after`` would swallow it as its own)
    ├── UnavailableError         the environment lacks something; the text says what mends it
    │   ├── NobodyThereError     nothing listens at the address
    │   ├── NoBaseError          the daemon has no such base; nothing has changed
    │   ├── NoRoomError          too few free slots now; nothing has changed
    │   ├── QuietSlotError       the slot is held still for a verifier; nothing has changed
    │   └── RefusedError         somebody is there and will not have us as we are; asking again is no use
    ├── BusyError                there is no room now; trying later is right
    └── InvalidInputError        a user's input is wrong; names the source, the line and the field
        └── SlotStateError       a trajectory has no slot, or one that it must not have; nothing has changed

What the *model* should see is never an exception: a command that failed, ran into its limit or was
killed for memory is a result, and a result says who failed (:class:`Provenance`).
"""

from __future__ import annotations

from enum import StrEnum
from typing import final


class HermesTrioError(Exception):
    """Base of every error this project raises on purpose."""


class ClosedError(HermesTrioError):
    """The object was closed on this side before or during the operation."""


class BrokenLinkError(HermesTrioError):
    """The link failed under us: reset, end of file, a close the peer began, or silence past its bound."""


class LostError(HermesTrioError):
    """A call was under way when the other side went away.

    Attributes:
        outcome: ``"not_started"`` when it is certain that nothing ran, ``"unknown"`` otherwise.
            Only the first may be sent again.
    """

    def __init__(self, message: str, *, outcome: str = "unknown") -> None:
        super().__init__(message)
        self.outcome = outcome


class LinkLostError(LostError):
    """The link to the daemon went while the call was under way."""


class SandboxLostError(LostError):
    """The daemon or the slot that ran the call is gone."""


class ProtocolError(HermesTrioError):
    """A frame, or an order of frames, that the wire protocol does not allow."""


class LocalProtocolError(ProtocolError):
    """This side's own code asked for a frame that is not allowed now. Always a bug here."""


class RemoteProtocolError(ProtocolError):
    """The peer sent what the protocol does not allow.

    Attributes:
        path: where in the frame, for example ``"call.limit_s"``; empty when it is not about one field.
    """

    def __init__(self, message: str, *, path: str = "") -> None:
        super().__init__(f"{path}: {message}" if path else message)
        self.path = path


class TooSlowError(HermesTrioError):
    """Something had a bound of its own and did not keep it."""


class UnavailableError(HermesTrioError):
    """What was asked for is not to be had here and now.

    Attributes:
        mend: one sentence that tells a person what to do about it; may be empty.
    """

    def __init__(self, message: str, *, mend: str = "") -> None:
        super().__init__(f"{message} {mend}".rstrip())
        self.mend = mend


class NobodyThereError(UnavailableError):
    """Nothing listens at the address: whoever did is gone, or has not begun."""


class NoBaseError(UnavailableError):
    """The daemon has no base of that name: it was built elsewhere, or removed. Nothing has changed."""


class NoRoomError(UnavailableError):
    """There are too few free slots. Nothing has changed; release some, or try again later."""


class QuietSlotError(UnavailableError):
    """The slot is held still for a verifier. Nothing has changed; it must be reopened or released first."""


class RefusedError(UnavailableError):
    """Somebody was reached and refuses us as we are: wrong token, other version, no daemon at all."""


class BusyError(HermesTrioError):
    """A bound on concurrent or queued work is reached."""


class InvalidInputError(HermesTrioError):
    """A user's input cannot be used. One line, fit to be printed as it is.

    Attributes:
        source: the file, URL or option; empty when there is none.
        line: 1-based line in ``source``; ``None`` when lines mean nothing there.
        field: the name of the offending field; empty when the whole line is meant.
    """

    def __init__(self, message: str, *, source: str = "", line: int | None = None, field: str = "") -> None:
        where = source if line is None else f"{source}:{line}"
        parts = [part for part in (where, f"field '{field}'" if field else "") if part]
        super().__init__(": ".join([*parts, message]))
        self.source = source
        self.line = line
        self.field = field


class SlotStateError(InvalidInputError):
    """A trajectory has no slot where it needs one, or has one where it must not. Nothing has changed."""


@final
class Provenance(StrEnum):
    """Who is responsible for how a call ended. A trainer masks on it; see :attr:`is_infrastructure`."""

    OK = "ok"
    TOOL_ERROR = "tool_error"
    """The tool ran and reported failure, for instance a non-zero exit status."""
    LIMIT_EXCEEDED = "limit_exceeded"
    """The call's own limit ended it: time, memory, processes, disk or output."""
    CANCELLED = "cancelled"
    """The caller ended it."""
    DENIED = "denied"
    """Policy refused it; nothing ran."""
    INVALID_REQUEST = "invalid_request"
    """The request made no sense; nothing ran."""
    UNAVAILABLE = "unavailable"
    """No slot, no server, no room: nothing ran."""
    SANDBOX_LOST = "sandbox_lost"
    """The daemon or slot went away under the call."""
    LINK_LOST = "link_lost"
    """The link went away; what became of the call is unknown unless the result says so."""
    MODEL_ERROR = "model_error"
    """The model server failed, not the policy."""
    INTERNAL_ERROR = "internal_error"
    """A bug of ours. It is logged where it was caught."""

    @property
    def is_infrastructure(self) -> bool:
        """Whether a trainer must mask it: the policy did not cause this ending."""
        return self in _INFRASTRUCTURE


_INFRASTRUCTURE = frozenset(
    {
        Provenance.UNAVAILABLE,
        Provenance.SANDBOX_LOST,
        Provenance.LINK_LOST,
        Provenance.MODEL_ERROR,
        Provenance.INTERNAL_ERROR,
    }
)
