"""What an executor can do with whole workspaces: fork them, put them back, compare them, carry them away."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NewType

from attrs import frozen

from hermes_trio.errors import (
    InvalidInputError,
    NoBaseError,
    NoRoomError,
    Provenance,
    QuietSlotError,
    RemoteProtocolError,
    SandboxLostError,
    SlotStateError,
    UnavailableError,
)
from hermes_trio.fleet.calls import CallRecord
from hermes_trio.wire.changes import PathChange, unpack_changes
from hermes_trio.wire.frames import Result
from hermes_trio.wire.operations import NO_BASE, NO_ROOM, Operation

if TYPE_CHECKING:
    from hermes_trio.slots.pool import SlotPool


BaseId = NewType("BaseId", str)
"""The name of a base: 64 hexadecimal digits."""


@frozen(kw_only=True)
class WorkspaceDiff:
    """How a workspace differs from its base.

    Args:
        changes: the paths that differ, each with what was there before and what is there now.
        truncated: there is more, after the last of these paths.
    """

    changes: tuple[PathChange, ...]
    truncated: bool


@frozen(kw_only=True)
class Bases:
    """The bases of one daemon.

    Args:
        names: all of them, least recently used first.
        used: those that a trajectory stands on, and that therefore stay.
    """

    names: tuple[BaseId, ...]
    used: frozenset[BaseId]


class WorkspaceMethods(ABC):
    """Mixed into the executor, which brings the road."""

    _pool: SlotPool

    @abstractmethod
    def _check_open(self) -> None:
        """Raises ``ClosedError`` when it is not."""

    @abstractmethod
    def refusal(self, trajectory_id: str) -> str:
        """Why a trajectory's calls are refused now; empty when they are not."""

    def _check_loud(self, trajectory_id: str) -> None:
        """A verifier stands on what it finds, and may have put its tests there.

        So nobody may change a quiet workspace beside it, nor hand it on to another trajectory. Reading it,
        and saving it in a file, harms nobody.
        """
        self._check_open()
        why = self.refusal(trajectory_id)
        if why:
            raise QuietSlotError(f"{why}.", mend="Reopen it first.")

    @abstractmethod
    async def _answered(self, record: CallRecord) -> None:
        """Wait for the end of a submitted call. Cancellation: abandons."""

    async def fork(self, trajectory_id: str, *, into: Sequence[str]) -> None:
        """Give new trajectories a workspace each that begins as this trajectory's is now.

        All are on the same daemon. What one writes from then on no other sees. Where the daemon has layers
        (see its ``mechanisms``), nothing is copied, whatever the size. Calls of the trajectory that were
        there before end first; processes are not forked, and what still runs in the background is ended.

        Cancellation: abandons; nothing of the fork is left, and the trajectory keeps its workspace.

        Args:
            trajectory_id: whose workspace; it must have a slot.
            into: new trajectories, which have none. A call of theirs that comes meanwhile waits.

        Raises:
            ClosedError: the executor was closed.
            InvalidInputError: no new one is named, or one of them twice.
            SlotStateError: the trajectory has no slot, or one of the new ones has, or waits for one.
            LostError: the slot is gone, and the workspace with it.
            NoRoomError: the daemon has too few free slots. Nothing has changed.
            UnavailableError: the daemon could not do it, or the trajectory is quiet for its verifier
                (:class:`~hermes_trio.errors.QuietSlotError`). Nothing is lost.
        """
        self._check_loud(trajectory_id)
        _check_into(trajectory_id, into)
        record = self._pool.fork(trajectory_id, into)
        try:
            await self._answered(record)
        except BaseException:  # a cancel too: the places that wait for this fork are given up
            self._pool.drop_fork(record, into)
            raise
        unwrapped(record)

    async def reset(self, trajectory_id: str) -> None:
        """Put a trajectory's workspace back to what it was when the trajectory began, or to its base.

        It keeps its slot. What still runs there is ended, and the daemon has shown that nothing is left of
        what was written.

        Cancellation: abandons; the reset itself goes on.

        Args:
            trajectory_id: whose workspace; it must have a slot.

        Raises:
            ClosedError: the executor was closed.
            LostError: the slot is gone.
            UnavailableError: the daemon could not do it, or the trajectory is quiet for its verifier.
        """
        self._check_loud(trajectory_id)
        await self._asked(Operation.SLOT_RESET, trajectory_id, {})

    async def build_base(self, trajectory_id: str) -> BaseId:
        """Make a base of a trajectory's workspace as it is: what others can begin with.

        Fill the workspace first, by uploading a folder or an archive, or by a set-up script. The base is a
        copy, named by what is in it, and stays on the daemon as long as that lives. What still runs in the
        slot is ended.

        Cancellation: abandons; the workspace is as it was.

        Args:
            trajectory_id: whose workspace; it must have a slot.

        Returns:
            The base's name: a SHA-256 of every path, type, mode, time and content in it.

        Raises:
            ClosedError: the executor was closed.
            LostError: the slot is gone.
            UnavailableError: the daemon could not do it, or the trajectory is quiet for its verifier.
        """
        self._check_loud(trajectory_id)
        result = await self._asked(Operation.BASE_BUILD, trajectory_id, {})
        return BaseId(_field(result, "base"))

    def daemon_of(self, trajectory_id: str) -> str | None:
        """The name of the daemon that a trajectory has its slot on; ``None``: it has no slot yet."""
        return self._pool.daemon(trajectory_id)

    async def use_base(self, trajectory_id: str, base: BaseId) -> None:
        """Begin a trajectory's workspace with a base. What it had is gone, and what ran there is ended.

        The base must be on the trajectory's daemon: it is where it was built. :meth:`reset` comes back to it.

        Cancellation: abandons; the workspace may or may not have been changed.

        Args:
            trajectory_id: whose workspace; one without a slot gets one first.
            base: a base's name.

        Raises:
            ClosedError: the executor was closed.
            LostError: the slot is gone.
            NoBaseError: the daemon has no such base.
            UnavailableError: the daemon could not do it, or the trajectory is quiet for its verifier.
        """
        self._check_loud(trajectory_id)
        await self._asked(Operation.SLOT_RESET, trajectory_id, {"base": base})

    async def bases(self, trajectory_id: str) -> Bases:
        """The bases of the daemon that a trajectory is on.

        Cancellation: abandons.

        Args:
            trajectory_id: whose daemon; one without a slot gets one first.

        Raises:
            ClosedError: the executor was closed.
            LostError: the slot is gone.
            UnavailableError: no daemon could be reached.
        """
        result = await self._asked(Operation.BASE_LIST, trajectory_id, {})
        names, used = (tuple(map(BaseId, _field(result, name))) for name in ("bases", "used"))
        return Bases(names=names, used=frozenset(used))

    async def remove_base(self, trajectory_id: str, base: BaseId) -> None:
        """Remove a base from the daemon that a trajectory is on; its disk is given back.

        Nobody need do this: a daemon that has 64 removes the least recently used for the next.

        Cancellation: abandons; the base may or may not be gone.

        Args:
            trajectory_id: whose daemon; one without a slot gets one first.
            base: a base's name.

        Raises:
            ClosedError: the executor was closed.
            LostError: the slot is gone.
            NoBaseError: the daemon has no such base.
            UnavailableError: a trajectory stands on it. Nothing has changed.
        """
        await self._asked(Operation.BASE_REMOVE, trajectory_id, {"base": base})

    async def diff(
        self, trajectory_id: str, *, after: bytes | None = None, max_entries: int = 5000
    ) -> WorkspaceDiff:
        """How a workspace differs from the base it began with, or from an empty one: one page of it.

        Sorted by the components of the paths, a folder before what is in it. A file counts as changed when
        its type, mode, size, link target or content differ, not for its time. Stateful sessions are ended.

        Cancellation: abandons.

        Args:
            trajectory_id: whose workspace; it must have a slot.
            after: the last path of the page before; ``None``: the first page.
            max_entries: most changes of a page, 1 to 20,000.

        Raises:
            ClosedError: the executor was closed.
            LostError: the slot is gone.
            UnavailableError: the workspace could not be read.
        """
        arguments = {"after_hex": (after or b"").hex(), "max_entries": max_entries}
        result = await self._asked(Operation.SLOT_DIFF, trajectory_id, arguments)
        changes = unpack_changes(result.payload)
        return WorkspaceDiff(changes=changes, truncated=bool(_field(result, "truncated")))

    async def _asked(
        self, operation: Operation, trajectory_id: str, arguments: Mapping[str, Any], **more: Any
    ) -> Result:
        self._check_open()
        record = CallRecord(operation=operation, arguments=arguments, trajectory_id=trajectory_id, **more)
        self._pool.submit(record)
        await self._answered(record)
        return unwrapped(record)


def unwrapped(record: CallRecord) -> Result:
    """The result of a call that went well.

    Raises:
        LostError: the slot is gone.
        InvalidInputError: what was asked for makes no sense.
        NoBaseError: the daemon has no such base.
        NoRoomError: there are too few free slots.
        UnavailableError: it could not be done.
    """
    result = record.unwrap()
    match result.provenance:
        case Provenance.OK:
            return result
        case Provenance.SANDBOX_LOST:
            raise SandboxLostError(result.error)
        case Provenance.INVALID_REQUEST:
            raise InvalidInputError(result.error)
        case Provenance.UNAVAILABLE if result.data.get("reason") == NO_BASE:
            raise NoBaseError(result.error)
        case Provenance.UNAVAILABLE if result.data.get("reason") == NO_ROOM:
            raise NoRoomError(result.error)
        case _:
            raise UnavailableError(result.error or str(result.provenance))


def _field(result: Result, name: str) -> Any:
    try:
        return result.data[name]
    except KeyError:
        raise RemoteProtocolError("is missing in the report", path=name) from None


def _check_into(trajectory_id: str, into: Sequence[str]) -> None:
    if isinstance(into, str) or not into or len(set(into)) != len(into):
        raise InvalidInputError("must name one new trajectory or more, each once", field="into")
    if trajectory_id in into:
        raise SlotStateError(f"trajectory {trajectory_id} cannot be made of itself", field="into")
