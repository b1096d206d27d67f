"""PURE: what a call came to, in the members of the wire's ``Result``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from hermes_trio.errors import HermesTrioError, Provenance


@frozen(kw_only=True)
class Outcome:
    """See :class:`hermes_trio.wire.frames.Result`; the same members with the same meaning."""

    provenance: Provenance = Provenance.OK
    error: str = ""
    data: Mapping[str, Any] = field(factory=dict)
    segments: tuple[int, ...] = ()
    payload: bytes = field(default=b"", repr=False)


class AgentLostError(HermesTrioError):
    """The agent's socket ended, or it said something no agent of ours says."""


class AgentStartError(HermesTrioError):
    """No agent came up. Decided from its hello, never from what a command printed."""
