"""The terminals that a watcher is attached to: watched first, written to only when asked.

What a terminal prints is recorded as long as somebody is attached, for the replay. Bytes to the watcher wait
in the connection's bounded channel: a watcher that does not read stops the terminal that it watches, and
nobody else, as a consumer of a stream does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, Protocol

import orjson
import trio
from attrs import define, field

from hermes_trio.console.commands import Order
from hermes_trio.console.recordings import Recording, Recordings
from hermes_trio.errors import BusyError, HermesTrioError, InvalidInputError

MAX_TERMINALS: Final = 8
"""Of one connection."""
MAX_KEYS_BYTES: Final = 64 * 1024
COLUMNS: Final = (20, 500)
ROWS: Final = (10, 200)


class TerminalSession(Protocol):
    """A terminal in a slot, opened by :class:`OpenTerminal`."""

    columns: int
    """When it was opened: one that ran before keeps its size."""
    rows: int

    async def receive_some(self) -> bytes:
        """What it printed; empty: it is over. Cancellation: atomic."""
        ...

    async def send_all(self, data: bytes) -> None:
        """Type. Cancellation: abandons: some of it may have been typed."""
        ...

    async def resize(self, *, columns: int, rows: int) -> None:
        """Change its size. Cancellation: abandons."""
        ...


class OpenTerminal(Protocol):
    """Opens a terminal in a trajectory's slot, for the length of a block."""

    def __call__(
        self, trajectory_id: str, *, columns: int, rows: int
    ) -> AbstractAsyncContextManager[TerminalSession]:
        """Open it."""


@define(eq=False)
class _Attached:
    trajectory: str
    session: TerminalSession
    recording: Recording
    scope: trio.CancelScope
    writable: bool = False


@define(eq=False, kw_only=True)
class Terminals:
    """Of one connection.

    Args:
        open_terminal: ``None``: this executor has none.
        recordings: where they are recorded.
        send: to the watcher.
        nursery: the connection's.
    """

    open_terminal: OpenTerminal | None
    recordings: Recordings
    send: Callable[[bytes | str], Awaitable[None]]
    nursery: trio.Nursery
    _attached: dict[int, _Attached] = field(factory=dict, init=False)
    _last: int = field(default=0, init=False)

    @property
    def features(self) -> tuple[str, ...]:
        """For the welcome."""
        return ("terminal",) if self.open_terminal is not None else ()

    @property
    def commands(self) -> Mapping[str, Callable[[Order], Awaitable[Any]]]:
        """Those that belong to this connection."""
        return {"attach": self._attach, "write": self._write, "resize": self._resize}

    async def keys(self, channel: int, data: bytes) -> None:
        """The person has typed; it means nothing where only watching was asked for.

        Cancellation: abandons: some of it may have been typed.
        """
        attached = self._attached.get(channel)
        if attached is not None and attached.writable and len(data) <= MAX_KEYS_BYTES:
            await attached.session.send_all(data)
        await trio.lowlevel.checkpoint()

    def leave(self, channel: object) -> None:
        """The person does not look any more."""
        attached = self._attached.get(channel) if isinstance(channel, int) else None
        if attached is not None:
            attached.scope.cancel()

    # --- commands -------------------------------------------------------------------------------------

    async def _attach(self, order: Order) -> dict[str, Any]:
        trajectory = order.text("trajectory")
        columns, rows = _size(order)
        if self.open_terminal is None:
            raise InvalidInputError("this executor opens no terminals", field="name")
        if len(self._attached) >= MAX_TERMINALS:
            raise BusyError(f"a console is attached to at most {MAX_TERMINALS} terminals at once")
        opening = self.open_terminal(trajectory, columns=columns, rows=rows)
        told = await self.nursery.start(self._serve, trajectory, opening)
        if isinstance(told, HermesTrioError):
            order.audited(f"could not be attached to: {told}")
            raise told
        order.audited("attached to, to watch")
        attached = self._attached[told]
        return {
            "channel": told,
            "recording": attached.recording.id,
            "columns": attached.session.columns,
            "rows": attached.session.rows,
        }

    async def _write(self, order: Order) -> dict[str, Any]:
        attached = self._named(order)
        await trio.lowlevel.checkpoint()
        attached.writable = order.arguments.get("writable") is True
        order.audited(f"{attached.trajectory}: {'typing' if attached.writable else 'watching'}")
        return {"writable": attached.writable}

    async def _resize(self, order: Order) -> dict[str, Any]:
        attached, (columns, rows) = self._named(order), _size(order)
        await attached.session.resize(columns=columns, rows=rows)
        attached.recording.resized(columns, rows, now=trio.current_time())
        return {"columns": columns, "rows": rows}

    def _named(self, order: Order) -> _Attached:
        attached = self._attached.get(order.number("channel"))
        if attached is None:
            raise InvalidInputError("nothing is attached there", field="channel")
        return attached

    # --- the task of each -----------------------------------------------------------------------------

    async def _serve(
        self,
        trajectory: str,
        opening: AbstractAsyncContextManager[TerminalSession],
        *,
        task_status: trio.TaskStatus[int | HermesTrioError],
    ) -> None:
        channel, why = self._free_channel(), "it has ended"
        started = False
        await trio.lowlevel.checkpoint()
        try:
            with trio.CancelScope() as scope:
                async with opening as session:
                    recording = self.recordings.begin(
                        trajectory, columns=session.columns, rows=session.rows, now=trio.current_time()
                    )
                    self._attached[channel] = _Attached(trajectory, session, recording, scope)
                    task_status.started(channel)
                    started = True
                    await self._show(channel, session, recording)
        except HermesTrioError as error:
            why = str(error)
            if not started:
                task_status.started(error)
        finally:
            self._attached.pop(channel, None)
        if started:
            await self.send(orjson.dumps({"t": "closed", "channel": channel, "reason": why}).decode())

    async def _show(self, channel: int, session: TerminalSession, recording: Recording) -> None:
        head = bytes([channel])
        while data := await session.receive_some():
            recording.output(data, now=trio.current_time())
            await self.send(head + data)

    def _free_channel(self) -> int:
        """One that was not used just before: what is still on its way for it must not reach another."""
        while True:
            self._last = self._last % 255 + 1
            if self._last not in self._attached:
                return self._last


def _size(order: Order) -> tuple[int, int]:
    return (
        order.number("columns", least=COLUMNS[0], most=COLUMNS[1]),
        order.number("rows", least=ROWS[0], most=ROWS[1]),
    )
