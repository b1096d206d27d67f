"""The terminals that a watcher is attached to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import trio
from attrs import define, field

from hermes_trio.console.commands import Order
from hermes_trio.console.hub import ConsoleHub


@define(eq=False)
class Terminals:
    """Of one connection.

    Args:
        hub: whose slots.
        send: to the watcher.
        who: it is.
    """

    hub: ConsoleHub
    send: Callable[[bytes | str], Awaitable[None]] = field(kw_only=True)
    who: str = field(kw_only=True)
    features: tuple[str, ...] = ()
    commands: Mapping[str, Callable[[Order], Awaitable[Any]]] = field(factory=dict)

    async def keys(self, channel: int, data: bytes) -> None:
        """The person has typed. Cancellation: atomic."""
        await trio.lowlevel.checkpoint()

    def leave(self, channel: object) -> None:
        """The person does not look any more."""
