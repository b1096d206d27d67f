"""What a watcher can ask for: one function each, from arguments that were checked to a JSON value."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol

import trio
from attrs import frozen

from hermes_trio.console.hub import ConsoleHub
from hermes_trio.console.recordings import FetchedRecording
from hermes_trio.console.stacks import stack_of
from hermes_trio.errors import HermesTrioError, InvalidInputError

MAX_NAME: Final = 1024


@frozen
class Order:
    """One command as it came.

    Args:
        hub: whose.
        who: the address of whoever asks, for the audit log.
        name: of the command.
        arguments: as they came: not trusted.
    """

    hub: ConsoleHub
    who: str
    name: str
    arguments: Mapping[str, Any]

    def text(self, field: str) -> str:
        """A text that must be there.

        Raises:
            InvalidInputError: it is not.
        """
        value = self.arguments.get(field)
        if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME:
            raise InvalidInputError(f"is a text of 1 to {MAX_NAME} characters", field=field)
        return value

    def number(self, field: str, *, least: int = 0, most: int = 2**53) -> int:
        """A whole number that must be there.

        Raises:
            InvalidInputError: it is not.
        """
        value = self.arguments.get(field)
        if type(value) is not int or not least <= value <= most:
            raise InvalidInputError(f"is a whole number from {least} to {most}", field=field)
        return value

    def audited(self, outcome: str) -> None:
        """It was done, or refused: into the audit log."""
        self.hub.note(self.who, self.name, self.arguments, outcome=outcome)


class Command(Protocol):
    """What answers an order."""

    def __call__(self, order: Order) -> Awaitable[Any]:
        """The answer."""


async def _cancel_call(order: Order) -> dict[str, Any]:
    number = order.number("call")
    await trio.lowlevel.checkpoint()
    found = order.hub.executor.cancel_call(number)
    order.audited("told to end" if found else "there is no such call under way")
    if not found:
        raise InvalidInputError(f"call {number} is not under way", field="call")
    return {"call": number}


async def _cancel_trajectory(order: Order) -> dict[str, Any]:
    trajectory = order.text("trajectory")
    await trio.lowlevel.checkpoint()
    if trajectory not in order.hub.state.trajectories.rows:
        order.audited("it is not alive")
        raise InvalidInputError(f"trajectory {trajectory} is not alive", field="trajectory")
    order.audited("told to end")
    await order.hub.executor.cancel_trajectory(trajectory)
    return {"trajectory": trajectory}


async def _drain(order: Order) -> dict[str, Any]:
    daemon = order.text("daemon")
    await trio.lowlevel.checkpoint()
    await order.hub.wait_fresh()
    known = order.hub.state.daemons.rows.get(daemon)
    found = order.hub.executor.drain_daemon(daemon)
    order.audited("drains" if found else "there is no such daemon")
    if not found:
        raise InvalidInputError(f"there is no daemon {daemon} in this fleet", field="daemon")
    return {"daemon": daemon, "leased": known.leased if known else 0}


async def _stack(order: Order) -> str:
    trajectory = order.text("trajectory")
    await trio.lowlevel.checkpoint()
    tasks = {
        live.number: live.task
        for live in order.hub.executor.live_calls()
        if live.trajectory_id == trajectory and live.task is not None
    }
    if order.arguments.get("call") is not None:
        number = order.number("call")
        tasks = {number: tasks[number]} if number in tasks else {}
    if not tasks:
        return "No task of this program is in a call of this trajectory now."
    return "\n\n".join(f"call {number}, {stack_of(task)}" for number, task in tasks.items())


async def _snapshot(order: Order) -> dict[str, Any]:
    await order.hub.wait_fresh()
    return order.hub.state.snapshot()


async def _detail(order: Order) -> dict[str, Any]:
    await order.hub.wait_fresh()
    return order.hub.state.detail(order.text("trajectory"))


async def _recordings(order: Order) -> list[dict[str, Any]]:
    await trio.lowlevel.checkpoint()
    order.hub.fetching.see()
    return order.hub.recordings.rows()


async def _recording(order: Order) -> str:
    await trio.lowlevel.checkpoint()
    recording = order.hub.recordings.find(order.text("id"))
    if recording is None:
        raise InvalidInputError("there is no such recording any more", field="id")
    if isinstance(recording, FetchedRecording):
        await order.hub.fetching.fetch_all(recording)
    return recording.text()


COMMANDS: Final[Mapping[str, Command]] = {
    "cancel_call": _cancel_call,
    "cancel_trajectory": _cancel_trajectory,
    "drain": _drain,
    "stack": _stack,
    "snapshot": _snapshot,
    "detail": _detail,
    "recordings": _recordings,
    "recording": _recording,
}


async def answer(
    order: Order, others: Mapping[str, Callable[[Order], Awaitable[Any]]] | None = None
) -> dict[str, Any]:
    """Carry an order out: ``{"ok": true, "value": ...}``, or ``{"ok": false, "error": "..."}``.

    Cancellation: abandons.

    Args:
        order: what was asked for.
        others: commands that belong to one connection only.
    """
    await trio.lowlevel.checkpoint_if_cancelled()
    command = (others or {}).get(order.name) or COMMANDS.get(order.name)
    try:
        if command is None:
            raise InvalidInputError(f"there is no command {order.name[:64]!r}", field="name")
        return {"ok": True, "value": await command(order)}
    except HermesTrioError as error:
        return {"ok": False, "error": str(error), "is_input": isinstance(error, InvalidInputError)}
