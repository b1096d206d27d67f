"""What two sides settle before any work: version, session, limits."""

from __future__ import annotations

import attrs

from hermes_trio.wire.faults import PeerFault, version_fault
from hermes_trio.wire.frames import PROTOCOL_VERSION, ErrorCode, Hello, Limits, SessionId, Welcome

MIN_MESSAGE_BYTES = 4096
"""No side may take less: the handshake, errors and every other small frame must fit into any message."""


def agree(ours: Limits, theirs: Limits) -> Limits:
    """The limits that both sides keep to: the lower of each."""
    names = [field.name for field in attrs.fields(Limits)]
    return Limits(**{name: min(getattr(ours, name), getattr(theirs, name)) for name in names})


def objection_to_limits(limits: Limits) -> str:
    """Why these limits cannot work; empty when they can."""
    if limits.max_message_bytes < MIN_MESSAGE_BYTES:
        return f"max_message_bytes must be at least {MIN_MESSAGE_BYTES}"
    if limits.window_bytes < limits.max_message_bytes:
        return "window_bytes must be at least max_message_bytes"
    return ""


def check_greeting(greeting: Hello | Welcome, session_id: SessionId) -> None:
    """Refuse a greeting that cannot be meant for this session.

    Raises:
        RemoteProtocolError: another version, another session, or limits that cannot work.
    """
    path = type(greeting).__name__.lower()
    if greeting.protocol != PROTOCOL_VERSION:
        raise version_fault(greeting.protocol, path=f"{path}.protocol")
    if greeting.session_id != session_id:
        raise PeerFault("another session is meant", path=f"{path}.session_id", code=ErrorCode.SESSION)
    objection = objection_to_limits(greeting.limits)
    if objection:
        raise PeerFault(objection, path=f"{path}.limits")
