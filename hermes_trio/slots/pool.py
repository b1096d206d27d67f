"""The pool around the slot table: turns its decisions into lease calls, and keeps each trajectory's order.

Nothing here is a task. Every step happens synchronously, in a caller or in a connection's reader: a call is
submitted, a lease is granted, a daemon goes. So there is no moment at which a decision of the table has been
taken but not acted on, nothing to cancel half-way, and no lock.

A trajectory that is known here has a *holder*. Its calls wait in the holder until the slot is leased, and are
handed to the connection in the order in which they came; from there the lane of the outbox and the turnstile
of the daemon keep that order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence

import trio
from attrs import define, field

from hermes_trio.errors import (
    HermesTrioError,
    InvalidInputError,
    LostError,
    NoRoomError,
    Provenance,
    RemoteProtocolError,
    SandboxLostError,
    SlotStateError,
    UnavailableError,
)
from hermes_trio.fleet.calls import CallRecord
from hermes_trio.fleet.connection import DaemonConnection
from hermes_trio.slots.table import (
    Assignment,
    DaemonName,
    PlaceState,
    SlotTable,
    SlotTableStatistics,
    TrajectoryId,
)
from hermes_trio.telemetry.bus import EventBus
from hermes_trio.telemetry.events import Event, LeaseChanged, LeaseState, SlotMended, bounded_text
from hermes_trio.telemetry.log import get_logger
from hermes_trio.wire.codec import structure_arguments
from hermes_trio.wire.frames import Lease, Result, SlotId
from hermes_trio.wire.operations import Operation, SlotAcquired, SlotForked

logger = get_logger(__name__)


@define(eq=False)
class _Holder:
    """One trajectory's side of its slot."""

    trajectory: TrajectoryId
    pending: deque[CallRecord] = field(factory=deque)
    """Calls that wait for the lease, in order."""
    connection: DaemonConnection | None = None
    acquiring: CallRecord | None = None
    lease: Lease | None = None
    lost: LostError | None = None
    told: tuple[float, LeaseChanged] | None = None
    """The last that was told of it, and when."""
    released: trio.Event = field(factory=trio.Event)
    """Set when a release that is under way is over."""
    forking: bool = False
    """Its slot is asked for by a fork, which is not its own to take back."""
    leaving: bool = False
    """Nobody wants the slot that the fork will bring."""

    def renew(self) -> None:
        """Whatever was released before is over; what comes now is a new use of the trajectory's name."""
        self.released.set()
        self.released = trio.Event()


class SlotPool:
    """Leases of slots for trajectories; listens to the fleet (a ``ConnectionListener``).

    Args:
        bus: where leases are told; ``None``: to nobody.
    """

    def __init__(self, bus: EventBus | None = None) -> None:
        self._bus = bus or EventBus()
        self._table = SlotTable()
        self._holders: dict[TrajectoryId, _Holder] = {}
        self._connections: dict[DaemonName, DaemonConnection] = {}
        self._wiping = 0  # slots that were condemned and may come back
        self._unreachable: UnavailableError | None = None  # why waiting is hopeless now, if it is

    def __repr__(self) -> str:
        return f"<SlotPool {self._table!r}>"

    def statistics(self) -> SlotTableStatistics:
        """A snapshot of the table's counts."""
        return self._table.statistics()

    def lease(self, trajectory_id: str) -> Lease | None:
        """The slot the trajectory holds now, if any."""
        holder = self._holders.get(TrajectoryId(trajectory_id))
        return holder.lease if holder else None

    def daemon(self, trajectory_id: str) -> str | None:
        """The name of the daemon that its slot is on, if it holds one now."""
        holder = self._holders.get(TrajectoryId(trajectory_id))
        return holder.connection.name if holder and holder.lease and holder.connection else None

    def is_idle(self, trajectory_id: str) -> bool:
        """Whether the trajectory has nothing here: no slot, no call on its way to one, no loss to be told."""
        holder = self._holders.get(TrajectoryId(trajectory_id))
        return holder is None or not (holder.lease or holder.pending or holder.lost)

    # --- calls ----------------------------------------------------------------------------------------

    def submit(self, record: CallRecord) -> None:
        """Send a call to its trajectory's slot, or queue it until there is one. Never raises."""
        trajectory = TrajectoryId(record.trajectory_id)
        holder = self._holders.get(trajectory)
        if holder is None:
            if self._unreachable is not None:
                record.fail(self._unreachable)
                return
            holder = self._holders[trajectory] = _Holder(trajectory)
            holder.pending.append(record)
            self._begin(self._request(holder))
        elif holder.lost is not None:
            record.fail(holder.lost)
        elif self._table.state(trajectory) is PlaceState.LEASED:
            self._send(holder, record)
        else:
            holder.pending.append(record)

    def fork(self, trajectory_id: str, into: Sequence[str]) -> CallRecord:
        """Ask for slots with copies of a trajectory's workspace, on its daemon. The caller waits for the end.

        The calls of the new trajectories wait meanwhile; if there is no fork they end as its error.

        Raises:
            SlotStateError: the trajectory has no slot, or one of the others has or waits for one.
            LostError: the trajectory's slot is gone.
            NoRoomError: its daemon has too few free slots. Nothing has changed.
        """
        trajectory = TrajectoryId(trajectory_id)
        holder = self._leased(trajectory)
        children = [TrajectoryId(child) for child in into]
        for child in children:
            if child in self._holders:
                raise SlotStateError(f"trajectory {child} has a slot already, or waits for one", field="into")
        missing = self._table.fork(trajectory, children)
        if missing:
            raise NoRoomError(
                f"The fork needs {missing} more free slots on daemon {self.daemon(trajectory_id)}."
            )
        record = CallRecord(
            operation=Operation.SLOT_FORK,
            arguments={"into": list(into)},
            trajectory_id=trajectory_id,
            on_done=lambda record: self._forked(children, record),
        )
        for child in children:
            made = _Holder(child, connection=holder.connection, acquiring=record, forking=True)
            self._holders[child] = made
            self._tell(made, LeaseState.ACQUIRING)
        self._send(holder, record)
        return record

    def _leased(self, trajectory: TrajectoryId) -> _Holder:
        holder = self._holders.get(trajectory)
        if holder is not None and holder.lost is not None:
            raise holder.lost
        if holder is None or holder.lease is None:
            raise SlotStateError(f"trajectory {trajectory} has no slot", field="trajectory_id")
        return holder

    def _forked(self, children: Sequence[TrajectoryId], record: CallRecord) -> None:
        leases = _leases_of(record, len(children))
        for index, child in enumerate(children):
            holder = self._holders.get(child)
            if holder is None or holder.acquiring is not record:
                continue  # the daemon went away in the meantime, and the slot with it
            holder.acquiring, holder.forking = None, False
            if leases:
                self._fork_granted(holder, leases[index])
            else:
                assignments = self._table.refused(child)
                self._end_fork(holder, record)
                self._begin(assignments)

    def _fork_granted(self, holder: _Holder, lease: Lease) -> None:
        holder.lease = lease
        self._table.granted(holder.trajectory)
        self._tell(holder, LeaseState.LEASED)
        if holder.leaving:
            self._give_back(holder, reset=True)
            return
        pending, holder.pending = holder.pending, deque()
        for waiting in pending:
            self._send(holder, waiting)

    def drop_fork(self, record: CallRecord, into: Sequence[str]) -> None:
        """Nobody wants what a fork has made, or will have made."""
        for child in into:
            holder = self._holders.get(TrajectoryId(child))
            if holder is None:
                continue
            if holder.acquiring is record:
                holder.leaving = True
            elif self._table.state(holder.trajectory) is PlaceState.LEASED:
                self._give_back(holder, reset=True)
        if record.call_id is None:
            record.fail(UnavailableError("the fork was given up before it began"))

    def _end_fork(self, holder: _Holder, record: CallRecord) -> None:
        text = record.result.error if record.result is not None else ""
        self._fail_pending(holder, record.error or UnavailableError(text))
        self._forget(holder)

    def grant(self, record: CallRecord, limit_bytes: int) -> None:
        """Welcome a call's output up to this byte."""
        holder = self._holders.get(TrajectoryId(record.trajectory_id))
        if holder is not None and holder.connection is not None:
            holder.connection.grant(record, limit_bytes)

    def abandon(self, record: CallRecord) -> bool:
        """End a submitted call whose caller leaves.

        Returns whether its end is still to come: the daemon has been told, and will answer when everything
        the call started is gone. False: it never left, or it is over.
        """
        holder = self._holders.get(TrajectoryId(record.trajectory_id))
        if record.ended or holder is None:
            return False
        if record in holder.pending:
            holder.pending.remove(record)
            self._give_up_waiting(holder)
            return False
        return holder.connection is not None and not holder.connection.cancel(record)

    def condemn(self, record: CallRecord) -> None:
        """An abandoned call could not be shown dead in time: its slot leaves service.

        It comes back when the daemon has wiped it and says so; the daemon keeps a slot that it cannot wipe.
        """
        holder = self._holders.get(TrajectoryId(record.trajectory_id))
        if holder is None or holder.lease is None or holder.lease != record.lease:
            return
        assert holder.connection is not None
        connection, lease = holder.connection, holder.lease
        self._wiping += 1
        self._condemn(holder, "a cancelled call could not be shown to be dead")
        wiping = CallRecord(
            operation=Operation.SLOT_RELEASE,
            arguments={"reset": True},
            lease=lease,
            on_done=lambda record: self._wiped(connection, record),
        )
        connection.submit(wiping, urgent=True)

    def _wiped(self, connection: DaemonConnection, wiping: CallRecord) -> None:
        self._wiping -= 1
        back = _is_given_back(wiping) and self._is_ours(connection)
        if back and wiping.lease is not None:
            self._bus.publish(SlotMended(daemon=connection.name, slot=wiping.lease.slot))
        self._begin(self._table.mended(DaemonName(connection.name)) if back else ())

    async def release(self, trajectory_id: str, *, reset: bool) -> None:
        """Give a trajectory's slot back. What still runs or waits there ends as cancelled. Idempotent.

        Cancellation: abandons; the release itself goes on.
        """
        trajectory = TrajectoryId(trajectory_id)
        holder = self._holders.get(trajectory)
        if holder is None:
            await trio.lowlevel.checkpoint()
            return
        gone = UnavailableError(f"trajectory {trajectory_id} was released")
        pending, holder.pending = holder.pending, deque()
        for record in pending:
            record.fail(gone)
        match self._table.state(trajectory):
            case PlaceState.WAITING | PlaceState.ACQUIRING:
                holder.leaving = True
                self._give_up_waiting(holder)
            case PlaceState.LEASED:
                self._give_back(holder, reset=reset)
            case PlaceState.LOST:
                self._table.forget(trajectory)
                self._forget(holder)
            case PlaceState.RELEASING | None:
                pass
        await holder.released.wait()

    async def release_all(self) -> None:
        """Give back every slot, wiped.

        Cancellation: abandons.
        """
        async with trio.open_nursery() as nursery:
            for trajectory in list(self._holders):
                nursery.start_soon(self._release_wiped, trajectory)

    async def _release_wiped(self, trajectory: TrajectoryId) -> None:
        await self.release(trajectory, reset=True)

    # --- the fleet's news -----------------------------------------------------------------------------

    def daemon_up(self, connection: DaemonConnection, slots: int) -> None:
        """A daemon joined: its places go to those who wait."""
        name = DaemonName(connection.name)
        if name in self._connections:  # it moved, and the old link is still being torn down
            self.daemon_down(self._connections[name])
        self._connections[name] = connection
        self._unreachable = None
        self._begin(self._table.add_daemon(name, slots))

    def daemon_paused(self, connection: DaemonConnection) -> None:
        """Nobody new goes there for now."""
        if self._is_ours(connection):
            self._table.pause(DaemonName(connection.name))

    def daemon_resumed(self, connection: DaemonConnection) -> None:
        """Its free places count again."""
        if self._is_ours(connection):
            self._begin(self._table.resume(DaemonName(connection.name)))

    def daemon_draining(self, connection: DaemonConnection) -> None:
        """The daemon gives no new leases; the ones that are held stay."""
        logger.info("a daemon is draining", daemon=connection.name)
        if self._is_ours(connection):
            self._table.drain(DaemonName(connection.name))

    def _is_ours(self, connection: DaemonConnection) -> bool:
        return self._connections.get(DaemonName(connection.name)) is connection

    def daemon_down(self, connection: DaemonConnection) -> None:
        """A daemon left: its trajectories lost their workspaces, and only they."""
        name = DaemonName(connection.name)
        if not self._is_ours(connection):
            return
        del self._connections[name]
        for trajectory in self._table.remove_daemon(name):
            self._lose(self._holders[trajectory], f"daemon {name}, which held its workspace, is gone")
        for holder in [h for h in self._holders.values() if h.forking and h.connection is connection]:
            # It was put back into the queue, but an empty workspace is not what it is to have.
            self._table.withdraw(holder.trajectory)
            self._fail_pending(holder, SandboxLostError(f"daemon {name}, which forked for it, is gone"))
            self._forget(holder)
        self._begin(self._table.assignments())

    def fleet_unreachable(self, reason: str) -> None:
        """No daemon is up and none can be expected soon: waiting would be hanging."""
        self._unreachable = UnavailableError(reason)
        self._turn_waiting_away(self._unreachable)

    def _turn_waiting_away(self, why: UnavailableError) -> None:
        waiting = [h for h in self._holders.values() if self._table.state(h.trajectory) is PlaceState.WAITING]
        for holder in waiting:
            self._table.withdraw(holder.trajectory)
            self._forget(holder)
            self._fail_pending(holder, why)

    def lease_lost(self, connection: DaemonConnection, lease: Lease, reason: str) -> None:
        """A daemon took one slot back."""
        for holder in self._holders.values():
            if holder.lease == lease and holder.connection is connection:
                self._condemn(holder, reason)
                return

    # --- how ------------------------------------------------------------------------------------------

    def present(self) -> Iterator[tuple[float, Event]]:
        """The events that make the present state of the leases."""
        return (holder.told for holder in self._holders.values() if holder.told is not None)

    def _tell(self, holder: _Holder, state: LeaseState, *, reason: str = "") -> None:
        changed = LeaseChanged(
            trajectory=holder.trajectory,
            state=state,
            daemon=holder.connection.name if holder.connection is not None else "",
            slot=holder.lease.slot if holder.lease is not None else "",
            reason=bounded_text(reason),
        )
        holder.told = trio.current_time(), changed
        self._bus.publish(changed)

    def _request(self, holder: _Holder) -> tuple[Assignment, ...]:
        self._tell(holder, LeaseState.WAITING)
        return self._table.request(holder.trajectory)

    def _begin(self, assignments: Iterable[Assignment]) -> None:
        """Ask the daemons for the slots that the table has assigned."""
        for assignment in assignments:
            holder = self._holders[assignment.trajectory]
            holder.connection = self._connections[assignment.daemon]
            holder.acquiring = CallRecord(
                operation=Operation.SLOT_ACQUIRE,
                arguments={},
                trajectory_id=holder.trajectory,
                traceparent=holder.pending[0].traceparent if holder.pending else None,
                on_done=lambda record, holder=holder: self._acquired(holder, record),  # type: ignore[misc]
            )
            self._tell(holder, LeaseState.ACQUIRING)
            holder.connection.submit(holder.acquiring, urgent=True)
        if self._connections and self._table.total == 0 and not self._wiping:
            self.fleet_unreachable("every slot of every daemon is quarantined")
        elif self._unreachable is not None:
            self._turn_waiting_away(self._unreachable)  # came back to the queue after that was said

    def _acquired(self, holder: _Holder, acquiring: CallRecord) -> None:
        if holder.acquiring is not acquiring:
            return  # the daemon it was asked from went away in the meantime, and the slot with it
        result = acquiring.result
        if result is not None and result.provenance is Provenance.OK:
            holder.lease = _lease_of(result)
            holder.acquiring = None
            self._table.granted(holder.trajectory)
            self._tell(holder, LeaseState.LEASED)
            self._flush(holder)
            return
        holder.acquiring = None
        if self._table.state(holder.trajectory) is PlaceState.WAITING:
            self._give_up_waiting(holder)  # the link went; daemon_down has put it back in the queue
            return
        if result is not None and holder.pending and self._table.is_draining(holder.trajectory):
            self._begin(self._table.turned_away(holder.trajectory))
            return
        assignments = self._table.refused(holder.trajectory)
        if result is not None and result.provenance is Provenance.CANCELLED and holder.pending:
            holder.renew()  # came back after giving up
            assignments += self._request(holder)
        else:
            self._fail_pending(holder, acquiring.error or UnavailableError(result.error if result else ""))
            self._forget(holder)
        self._begin(assignments)

    def _flush(self, holder: _Holder) -> None:
        """The slot is there: send what waited for it, or give it back if nobody waits any more."""
        if not holder.pending:
            self._give_back(holder, reset=True)
            return
        holder.renew()
        pending, holder.pending = holder.pending, deque()
        for record in pending:
            self._send(holder, record)

    def _send(self, holder: _Holder, record: CallRecord) -> None:
        assert holder.connection is not None
        record.lease = holder.lease
        holder.connection.submit(record)

    def _give_up_waiting(self, holder: _Holder) -> None:
        """The last one who wanted this trajectory's slot has left: leave nothing behind."""
        if holder.pending or holder.forking:
            return
        if self._table.withdraw(holder.trajectory):
            self._forget(holder)
        elif holder.acquiring is not None and self._took_back(holder, holder.acquiring):
            holder.acquiring = None
            assignments = self._table.refused(holder.trajectory)
            self._forget(holder)
            self._begin(assignments)

    @staticmethod
    def _took_back(holder: _Holder, acquiring: CallRecord) -> bool:
        """Whether the daemon was never asked; otherwise it is told, and :meth:`_acquired` hears of it."""
        return holder.connection is not None and holder.connection.cancel(acquiring)

    def _give_back(self, holder: _Holder, *, reset: bool) -> None:
        assert holder.connection is not None
        self._table.release_begun(holder.trajectory)
        release = CallRecord(
            operation=Operation.SLOT_RELEASE,
            arguments={"reset": reset},
            trajectory_id=holder.trajectory,
            lease=holder.lease,
            on_done=lambda record: self._given_back(holder, record),
        )
        self._tell(holder, LeaseState.RELEASING)
        holder.lease = None
        holder.connection.submit(release, urgent=True)

    def _given_back(self, holder: _Holder, release: CallRecord) -> None:
        if self._table.state(holder.trajectory) is PlaceState.RELEASING:  # else the daemon went, slot and all
            quarantined = not _is_given_back(release)
            holder.lease = release.lease  # for what is told: which slot it was
            self._tell(
                holder,
                LeaseState.QUARANTINED if quarantined else LeaseState.RELEASED,
                reason=_why_not(release) if quarantined else "",
            )
            holder.lease = None
            if quarantined:
                logger.error("a slot left service", trajectory=holder.trajectory, reason=_why_not(release))
            self._begin(self._table.release_done(holder.trajectory, quarantined=quarantined))
        holder.released.set()
        if not holder.pending:
            del self._holders[holder.trajectory]
            return
        fresh = self._holders[holder.trajectory] = _Holder(holder.trajectory, pending=holder.pending)
        self._begin(self._request(fresh))

    def _condemn(self, holder: _Holder, reason: str) -> None:
        """The slot cannot be trusted any more: it leaves service, and its trajectory with it."""
        if self._table.state(holder.trajectory) is PlaceState.LEASED:
            logger.error(
                "a slot is given up", trajectory=holder.trajectory, lease=holder.lease, reason=reason
            )
            assignments = self._table.lost(holder.trajectory)
            self._lose(holder, reason)
            self._begin(assignments)

    def _lose(self, holder: _Holder, reason: str) -> None:
        holder.lost = SandboxLostError(f"trajectory {holder.trajectory} lost its sandbox: {reason}")
        self._tell(holder, LeaseState.LOST, reason=reason)
        holder.lease = None
        self._fail_pending(holder, holder.lost)

    def _fail_pending(self, holder: _Holder, error: HermesTrioError) -> None:
        pending, holder.pending = holder.pending, deque()
        for record in pending:
            record.fail(error)

    def _forget(self, holder: _Holder) -> None:
        holder.acquiring = None  # its end, still to come, concerns nobody
        self._tell(holder, LeaseState.RELEASED)
        holder.released.set()
        del self._holders[holder.trajectory]


def _lease_of(result: Result) -> Lease:
    """Read the daemon's report of a slot that it gave.

    Raises:
        RemoteProtocolError: it is none. Out of a reader, this ends the link, and the slot with it.
    """
    try:
        acquired = structure_arguments(SlotAcquired, result.data)
    except InvalidInputError as exc:
        raise RemoteProtocolError(f"not the report of an acquired slot: {exc}") from exc
    return Lease(slot=SlotId(acquired.slot), epoch=acquired.epoch)


def _leases_of(forking: CallRecord, count: int) -> list[Lease]:
    """The same of a fork; none when there was no fork."""
    result = forking.result
    if result is None or result.provenance is not Provenance.OK:
        return []
    try:
        forked = structure_arguments(SlotForked, result.data)
    except InvalidInputError as exc:
        raise RemoteProtocolError(f"not the report of a fork: {exc}") from exc
    if not len(forked.slots) == len(forked.epochs) == count:
        raise RemoteProtocolError(
            f"the fork was for {count} trajectories, and made {len(forked.slots)} slots"
        )
    pairs = zip(forked.slots, forked.epochs, strict=True)
    return [Lease(slot=SlotId(slot), epoch=epoch) for slot, epoch in pairs]


def _is_given_back(release: CallRecord) -> bool:
    result = release.result
    if result is None or result.provenance is not Provenance.OK:
        return False
    return result.data.get("state") != "quarantined"


def _why_not(release: CallRecord) -> str:
    text = release.result.error if release.result is not None else str(release.error)
    return text or "quarantined"
