"""A tool call and its result: the two types that every caller of the runtime holds in hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from attrs import field, frozen

from hermes_trio.errors import Provenance
from hermes_trio.tools.streams import Streams


def _new_id() -> str:
    return f"call_{uuid4().hex[:16]}"


@frozen
class ToolCall:
    """One tool invocation, as the model asked for it.

    Args:
        name: the tool's name in the registry.
        arguments: the tool's arguments; JSON values only.
        uniq_id: comes back on the result; made up when not given.
        raw_text: the text the call was parsed from, for those who train on it; empty when structured.
        user_task: what the conversation is about, for tools that sum up what they saw with it in mind; told
            by the agent loop, empty otherwise. It is no part of what makes a call the same as another.
    """

    name: str
    arguments: Mapping[str, Any]
    uniq_id: str = field(factory=_new_id)
    raw_text: str = ""
    user_task: str = field(default="", repr=False, eq=False, kw_only=True)


@frozen
class ToolResult:
    """How a call ended.

    Args:
        success: the tool did what it was asked to do.
        output: what the model may see.
        error: one line; empty on success.
        metadata: figures of the run; for ``bash`` see :class:`hermes_trio.wire.operations.BashReport`.
        uniq_id: the call's.
        provenance: who is responsible for this ending.
        streams: what a command printed, as bytes; ``None`` where there was none.
    """

    success: bool
    output: str = ""
    error: str = ""
    metadata: Mapping[str, Any] = field(factory=dict)
    uniq_id: str | None = None
    provenance: Provenance = Provenance.OK
    streams: Streams | None = field(default=None, repr=False, eq=False, kw_only=True)
