"""A tool as a registry holds it: what the model is told, and how it is run. PURE."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from attrs import field, frozen

from hermes_trio.errors import InvalidInputError
from hermes_trio.tools.calls import ToolCall, ToolResult
from hermes_trio.tools.schema import ToolSchema


@frozen(kw_only=True)
class ToolContext:
    """What a handler is told besides the call.

    Args:
        trajectory_id: whose call it is.
        limit_s: seconds the call may run. Whoever runs the handler enforces it.
        slot_id: the slot that the trajectory holds now, if any.
        container_addr: URL of the daemon that the slot is on, without credentials.
        user_task: the beginning of the conversation's first user message, at most 500 characters.
    """

    trajectory_id: str = ""
    limit_s: float = 30.0
    slot_id: str | None = None
    container_addr: str | None = None
    user_task: str = ""


ToolHandler = Callable[[ToolCall, ToolContext], Awaitable[ToolResult]]
"""Runs a call whose arguments fit the schema. It may raise: :func:`hermes_trio.tools.run.run_handler` is the
boundary. Several calls run at once."""


@frozen
class Tool:
    """One member of a registry.

    Args:
        schema: what the model is told, and what arguments are checked against.
        handler: runs it in this process; ``None``: a slot runs it, or a ToolServer if the schema says
            ``external``.
        known_as: its name where it is run; empty: the schema's.
        limit_s: most seconds of a call, below what the caller allows; ``None``: no limit of its own.
        max_output_chars: output above it loses its middle; ``None``: no limit of its own.
        limit_note: a sentence for the model when a call is ended by its limit.

    Raises:
        InvalidInputError: an external tool with a handler, or a limit that is not positive.
    """

    schema: ToolSchema
    handler: ToolHandler | None = field(default=None, kw_only=True)
    known_as: str = field(default="", kw_only=True)
    limit_s: float | None = field(default=None, kw_only=True)
    max_output_chars: int | None = field(default=None, kw_only=True)
    limit_note: str = field(default="", kw_only=True)

    def __attrs_post_init__(self) -> None:
        if self.handler is not None and self.schema.external:
            raise InvalidInputError(f"tool '{self.name}' has a handler and is external", field="external")
        for name in ("limit_s", "max_output_chars"):
            value = getattr(self, name)
            if value is not None and not value > 0:  # also refuses NaN
                raise InvalidInputError(f"tool '{self.name}': must be positive, not {value}", field=name)

    @property
    def name(self) -> str:
        """What the model calls it."""
        return self.schema.name

    @property
    def runs_as(self) -> str:
        """What whoever runs it calls it."""
        return self.known_as or self.schema.name

    @property
    def runs_in_slot(self) -> bool:
        """Whether a sandbox runs it; calls of one trajectory then run one after another."""
        return self.handler is None and not self.schema.external
