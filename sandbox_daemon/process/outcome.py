"""PURE: what a call came to, in the members of the wire's ``Result``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final

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


_MAX_ERRNO: Final = 4095
"""linux/err.h; an agent that was captured may say anything, and ``strerror`` raises for what is no C int."""


def words_of(code: int) -> str:
    """What an errno that an agent told means."""
    return os.strerror(code) if code <= _MAX_ERRNO else f"error {code}"


class AgentLostError(HermesTrioError):
    """The agent's socket ended, or it said something no agent of ours says."""


class AgentStartError(HermesTrioError):
    """No agent came up. Decided from its hello, never from what a command printed."""
