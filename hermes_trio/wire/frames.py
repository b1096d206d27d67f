"""The frames: every unit that may travel on a session, as frozen data.

Theory of operation. A *session* joins one executor to one daemon and outlives the links (websockets)
that carry it. Everything that is work is a **call**: running a command, reading a file, acquiring or
resetting a slot. One state machine (``wire/transitions.py``) therefore gives every operation the same
promises: an id that runs at most once, an answer that arrives exactly once, cancellation, a limit,
streamed output and input under credit.

Frames come in two kinds:

* *link frames* (hello, welcome, ack, heartbeat, goodbye, error) speak about this link; they carry no
  sequence number and are never resent;
* *session frames* (all others) carry a sequence number per direction, stay in a bounded window until the
  peer has acknowledged them, and are resent when the session resumes on a new link.

A frame is a small JSON header and an optional binary payload; bytes are never put into JSON.
This file is pure data. The codec is in ``codec.py``, what may follow what in ``transitions.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final, NewType

from attrs import field, frozen

from hermes_trio.errors import Provenance
from hermes_trio.wire.ranges import Count, Positive, PositiveSeconds, Seconds, Traceparent

PROTOCOL_VERSION = 1
"""Raised when a frame changes its meaning. Additions are negotiated by ``features`` instead."""

SessionId = NewType("SessionId", str)
CallId = NewType("CallId", int)
"""Counts up from 1 within a session, in the order in which calls were put on the wire: the highest id
seen is therefore all the memory that is needed to know a call that has come and gone."""
SlotId = NewType("SlotId", str)
Epoch = NewType("Epoch", int)
"""One life of a daemon on its data directory; grows with every start."""


TRACEPARENT_FEATURE: Final = "traceparent"
"""Who announces it takes the field of that name in calls."""


class ErrorCode(StrEnum):
    """Why a link is given up. Closed set; the text beside it is for people."""

    PROTOCOL = "protocol"
    """The peer broke the protocol: bytes that are no frame, or a frame that was not allowed."""
    VERSION = "version"
    """The two sides speak different versions. Trying again is useless."""
    UNAUTHORIZED = "unauthorized"
    """The token is wrong or missing. Trying again is useless."""
    SESSION = "session"
    """The session to resume is unknown here (its lease ended) or is not this peer's."""
    TOO_LARGE = "too_large"
    """A frame is larger than what was announced."""
    BUSY = "busy"
    """No room for another session; the peer may try later."""
    INTERNAL = "internal"
    """A bug of the sender's."""


class Stream(StrEnum):
    """Which stream of a call a chunk belongs to."""

    STDIN = "stdin"
    """What the call reads; the stream of input frames."""
    STDOUT = "stdout"
    """What a command writes to file descriptor 1."""
    STDERR = "stderr"
    """What a command writes to file descriptor 2."""
    DATA = "data"
    """A file's or an archive's bytes."""


@frozen(kw_only=True)
class Limits:
    """What one side is ready to take. Each side announces its own; the other keeps to it.

    Worst case of memory held for one peer: ``window_bytes`` unacknowledged in each direction, one message
    being read and one being written (``max_message_bytes`` each).
    """

    max_message_bytes: Positive = 4 * 1024 * 1024
    """One websocket message, all frames in it together."""
    max_calls: Positive = 4096
    """Calls offered and not yet answered."""
    window_frames: Positive = 8192
    """Session frames sent and not yet acknowledged."""
    window_bytes: Positive = 16 * 1024 * 1024
    """The same in bytes, headers included. At least ``max_message_bytes``: one full message must fit."""


@frozen(kw_only=True)
class Lease:
    """The right to use one slot. The epoch grows each time the slot changes hands; a stale one is refused."""

    slot: SlotId
    epoch: Count
    """Of the slot, not of the daemon."""


# --- link frames ------------------------------------------------------------------------------------------


@frozen(kw_only=True)
class Hello:
    """First frame of the executor on every link."""

    protocol: Count
    """Version spoken."""
    session_id: SessionId
    """Made up by the executor, unique for all time; whoever knows it can take the session over."""
    epoch: Epoch | None
    """The daemon's epoch this session knows; ``None`` before the first welcome."""
    received: Count
    """Highest sequence number received in order from the daemon so far."""
    limits: Limits
    """What the executor is ready to take."""
    features: tuple[str, ...] = ()
    """Extensions known, by name."""
    incarnation: Count = 0
    """How often the daemon has begun this session afresh, as far as the executor knows (0 before the first
    welcome). The daemon resumes only when this says that its own beginning has been seen: an epoch
    cannot tell, because a session that was forgotten and begun again in one epoch has the same."""
    token: str | None = field(default=None, repr=False)
    """For transports without HTTP headers. Over websockets the token is checked before the upgrade."""


@frozen(kw_only=True)
class Welcome:
    """First frame of the daemon on every link."""

    protocol: Count
    """Version spoken."""
    session_id: SessionId
    """The hello's."""
    epoch: Epoch
    """This life of the daemon."""
    resumed: bool
    """False: the daemon knows nothing of earlier calls of this session; they are lost."""
    received: Count
    """Highest sequence number received in order from the executor so far; 0 unless resumed."""
    limits: Limits
    """What the daemon is ready to take."""
    features: tuple[str, ...] = ()
    """Operations offered, and extensions by name."""
    slots: Count
    """How many slots the daemon has."""
    isolation: Mapping[str, Any] = field(factory=dict)
    """Level and mechanisms, as the daemon's probe found them."""


@frozen(kw_only=True)
class Ack:
    """Everything up to ``received`` has arrived; the peer may forget it."""

    received: Count
    """Highest sequence number received in order."""


@frozen(kw_only=True)
class Heartbeat:
    """Proof that the peer's loop turns. Answered at once with ``echo=True`` and the same nonce."""

    nonce: Count
    """Any number; comes back."""
    echo: bool = False
    """Whether this is the answer."""


@frozen(kw_only=True)
class Goodbye:
    """The sender leaves for good and in order: the session is over on both sides."""

    reason: str = ""
    """For people; at most 500 characters."""


@frozen(kw_only=True)
class Error:
    """The sender gives this link up. The session may resume unless the code says otherwise."""

    code: ErrorCode
    """What programs decide by."""
    message: str
    """For people; at most 500 characters."""
    detail: Mapping[str, Any] = field(factory=dict)
    """For programs that know more; nothing depends on it."""


# --- session frames: executor to daemon -------------------------------------------------------------------


@frozen(kw_only=True)
class Call:
    """Asks for one operation. Runs at most once, whatever happens to the link."""

    call_id: CallId
    operation: str
    """A name of ``wire/operations``."""
    arguments: Mapping[str, Any]
    """Passed through untouched by the codec; the operation's own class checks it at the far end."""
    lease: Lease | None = None
    """The slot, for operations that need one."""
    trajectory_id: str = ""
    """For whom; empty when for nobody in particular."""
    limit_s: PositiveSeconds | None = None
    """Seconds the operation may run once it has started; time in queues is not charged."""
    output_credit: Count = 0
    """Bytes of output frames the caller is ready for at once. 0: answer in the result only."""
    again: bool = False
    """The first call of a slot since the worker was too busy for one: those sent back come in order now."""
    traceparent: Traceparent | None = None
    """The span that asks, as W3C Trace Context writes it. Only for a daemon with this feature."""
    payload: bytes = b""
    """Small input that travels along, for instance standard input."""


@frozen(kw_only=True)
class Cancel:
    """Ends a call. Answered by its result, once everything it started is gone."""

    call_id: CallId
    reason: str = ""
    """For people; at most 500 characters."""


@frozen(kw_only=True)
class Input:
    """A chunk of input for a running call (standard input, an upload, keys)."""

    call_id: CallId
    offset: Count
    """Bytes of input that came before this chunk."""
    eof: bool = False
    """No input follows."""
    payload: bytes = b""
    """The chunk."""


# --- session frames: daemon to executor -------------------------------------------------------------------


@frozen(kw_only=True)
class Accepted:
    """The call has started. From here on it may have had effects."""

    call_id: CallId
    input_credit: Count = 0
    """Bytes of input frames the worker is ready for at once. 0: none yet, or none ever."""


@frozen(kw_only=True)
class Output:
    """A chunk of output. ``offset`` counts bytes over all streams of the call."""

    call_id: CallId
    stream: Stream
    """To which of the call's streams the chunk belongs."""
    offset: Count
    """Bytes of output, of all streams, that came before this chunk."""
    payload: bytes = b""
    """The chunk."""


@frozen(kw_only=True)
class Result:
    """How a call ended. Sent once; nothing follows it for this call.

    A result for a call that was cancelled says that its processes are gone (``data["killed"]`` true) or
    that this could not be shown (the slot is then quarantined).
    """

    call_id: CallId
    provenance: Provenance
    """Who is responsible for this ending."""
    error: str = ""
    """One line; empty on success."""
    data: Mapping[str, Any] = field(factory=dict)
    """The operation's report; see ``wire/operations``."""
    segments: tuple[Count, ...] = ()
    """Lengths of the consecutive parts of the payload; their meaning is the operation's. Empty: one part."""
    payload: bytes = b""
    """What the operation brought back."""


@frozen(kw_only=True)
class LeaseLost:
    """The daemon took a slot back (quarantine, reset after a crash). Calls on it are answered separately."""

    lease: Lease
    """As it was granted."""
    reason: str
    """For people; at most 500 characters."""


@frozen(kw_only=True)
class Drain:
    """The daemon stops taking leases; what runs may finish within ``grace_s``."""

    grace_s: Seconds
    """Seconds that what runs has left."""


# --- session frames: both directions ----------------------------------------------------------------------


@frozen(kw_only=True)
class Credit:
    """Allows the peer to send the call's stream up to this many bytes in all (absolute, not added up)."""

    call_id: CallId
    limit_bytes: Count
    """Bytes from the beginning of the stream. Never falls."""


LinkFrame = Hello | Welcome | Ack | Heartbeat | Goodbye | Error
SessionFrame = Call | Cancel | Input | Credit | Accepted | Output | Result | LeaseLost | Drain
Frame = LinkFrame | SessionFrame
