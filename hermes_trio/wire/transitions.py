"""What may follow what: the table of a call and the table of a link.

Theory of operation, after h11's ``_state.py``. Two rules hold for this file:

* everything that affects transitions is in it;
* it does not know which side it plays. Both sides feed it the frames that each *party* said, in the order in
  which this side said or heard them, and both use the same tables.

**A call** has two parties: the caller who offers it and the worker who runs it. Frames of the two cross on
the wire, so the two sides may see them in different orders. The table allows each order that honest peers
can produce, and all of these end alike::

    the caller sees   call -> cancel -> accepted -> result
    the worker sees   call -> accepted -> cancel -> result       (both: ENDED)

    the worker sees   call -> result -> cancel | credit | input  (sent before the result was read)

That is why WITHDRAWN takes an ``accepted``, why a cancelled call still takes output, and why ENDED takes what
a caller may have said before it read the result; such late frames change nothing and are told to nobody. A
caller never says them knowingly: for it an ended call is no call any more (``calls.py``). A call that comes
again under an id that was seen is a duplicate in every state: it is answered from memory and not run again.

A call that was answered needs no memory of its own: ids count up, so every id up to the highest is ENDED
unless it is live, and every id above it is NEW.

**A link** begins with hello and welcome. After that both sides say what their role may say until one leaves:
for this link (error) or for good (goodbye). What the peer said before it could know is dropped unread
(``DEAF``). The session outlives the link; only OVER is the end of it. Session frames are *queued* whenever
the session lives, and *travel* only while the link is OPEN.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import TypeAlias

from hermes_trio.wire.frames import (
    Accepted,
    Ack,
    Call,
    Cancel,
    Credit,
    Drain,
    Error,
    Goodbye,
    Heartbeat,
    Hello,
    Input,
    LeaseLost,
    Output,
    Result,
    Welcome,
)


class Role(Enum):
    """The two ends of a session. The executor calls, the daemon works."""

    EXECUTOR = "executor"
    DAEMON = "daemon"

    @property
    def peer(self) -> Role:
        """The other end."""
        return Role.DAEMON if self is Role.EXECUTOR else Role.EXECUTOR


class Party(Enum):
    """The two ends of a call."""

    CALLER = "caller"
    WORKER = "worker"


class CallState(Enum):
    """Where a call stands."""

    NEW = "new"
    """Never offered."""
    OFFERED = "offered"
    """Not known to have started."""
    WITHDRAWN = "withdrawn"
    """Cancelled before it was known to have started."""
    RUNNING = "running"
    CANCELLING = "cancelling"
    """Cancelled while running; its processes are being ended."""
    ENDED = "ended"
    """Answered."""


class LinkState(Enum):
    """Where a link stands."""

    DOWN = "down"
    """There is no link."""
    UP = "up"
    """Nothing was said yet."""
    GREETED = "greeted"
    """Hello was said."""
    OPEN = "open"
    """Welcome was said."""
    FAILED = "failed"
    """An error was said. The link is to be closed; the session may resume on another."""
    OVER = "over"
    """Goodbye was said. The session is no more."""


FrameType: TypeAlias = type
CallTable: TypeAlias = Mapping[CallState, Mapping[Party, Mapping[FrameType, CallState]]]
LinkTable: TypeAlias = Mapping[LinkState, Mapping[Role, Mapping[FrameType, LinkState]]]

CALL_TABLE: CallTable = {
    CallState.NEW: {
        Party.CALLER: {Call: CallState.OFFERED},
        Party.WORKER: {},
    },
    CallState.OFFERED: {
        Party.CALLER: {
            Call: CallState.OFFERED,
            Credit: CallState.OFFERED,
            Cancel: CallState.WITHDRAWN,
        },
        Party.WORKER: {
            Accepted: CallState.RUNNING,
            Result: CallState.ENDED,
        },
    },
    CallState.WITHDRAWN: {
        Party.CALLER: {
            Call: CallState.WITHDRAWN,
            Credit: CallState.WITHDRAWN,
        },
        Party.WORKER: {
            Accepted: CallState.CANCELLING,
            Result: CallState.ENDED,
        },
    },
    CallState.RUNNING: {
        Party.CALLER: {
            Call: CallState.RUNNING,
            Credit: CallState.RUNNING,
            Input: CallState.RUNNING,
            Cancel: CallState.CANCELLING,
        },
        Party.WORKER: {
            Credit: CallState.RUNNING,
            Output: CallState.RUNNING,
            Result: CallState.ENDED,
        },
    },
    CallState.CANCELLING: {
        Party.CALLER: {
            Call: CallState.CANCELLING,
            Credit: CallState.CANCELLING,
        },
        Party.WORKER: {
            Credit: CallState.CANCELLING,
            Output: CallState.CANCELLING,
            Result: CallState.ENDED,
        },
    },
    CallState.ENDED: {
        Party.CALLER: {
            Call: CallState.ENDED,
            Credit: CallState.ENDED,
            Input: CallState.ENDED,
            Cancel: CallState.ENDED,
        },
        Party.WORKER: {},
    },
}

SESSION_FRAMES: Mapping[Role, frozenset[FrameType]] = {
    Role.EXECUTOR: frozenset({Call, Cancel, Input, Credit}),
    Role.DAEMON: frozenset({Accepted, Output, Result, LeaseLost, Drain, Credit}),
}
"""What each role may say on a session; about calls, the table of the call decides further."""

_LEAVE: Mapping[FrameType, LinkState] = {Goodbye: LinkState.OVER, Error: LinkState.FAILED}


def _open_to(role: Role) -> Mapping[FrameType, LinkState]:
    stay = SESSION_FRAMES[role] | {Ack, Heartbeat}
    return {**dict.fromkeys(sorted(stay, key=lambda frame: frame.__name__), LinkState.OPEN), **_LEAVE}


_NOTHING: Mapping[FrameType, LinkState] = {}

LINK_TABLE: LinkTable = {
    LinkState.DOWN: {
        Role.EXECUTOR: {Goodbye: LinkState.OVER},  # said to nobody: a session may end between two links
        Role.DAEMON: {Goodbye: LinkState.OVER},
    },
    LinkState.UP: {
        Role.EXECUTOR: {Hello: LinkState.GREETED, **_LEAVE},
        Role.DAEMON: _LEAVE,
    },
    LinkState.GREETED: {
        Role.EXECUTOR: _LEAVE,
        Role.DAEMON: {Welcome: LinkState.OPEN, **_LEAVE},
    },
    LinkState.OPEN: {
        Role.EXECUTOR: _open_to(Role.EXECUTOR),
        Role.DAEMON: _open_to(Role.DAEMON),
    },
    LinkState.FAILED: {
        Role.EXECUTOR: {Goodbye: LinkState.OVER},
        Role.DAEMON: {Goodbye: LinkState.OVER},
    },
    LinkState.OVER: {
        Role.EXECUTOR: _NOTHING,
        Role.DAEMON: _NOTHING,
    },
}

LINK_UP: Mapping[LinkState, LinkState] = {
    state: LinkState.UP for state in LinkState if state is not LinkState.OVER
}
"""A new link supersedes the old one, whatever became of that."""

LINK_LOST: Mapping[LinkState, LinkState] = {
    state: LinkState.OVER if state is LinkState.OVER else LinkState.DOWN for state in LinkState
}

DEAF = frozenset({LinkState.FAILED, LinkState.OVER})
"""Here whatever the peer still says is dropped: it may have crossed the last word."""
