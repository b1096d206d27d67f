"""PURE. Who gets which place: the trajectories that want a slot, the daemons that have some.

Theory of operation. Each daemon brings a number of *places*. A trajectory is in exactly one of these states::

    (unknown) --request--> WAITING --assign--> ACQUIRING --granted--> LEASED --release_begun--> RELEASING
        ^                     |                    |                    |                           |
        +----- withdraw ------+----- refused ------+   remove_daemon: LOST --forget--> (unknown)    |
        +--------------------------------------- release_done --------------------------------------+

A daemon can be *closed* for a time (it is silent, or its link was lost) or for good (it drains): it gets
nobody new, and those who have places there keep them.

A place is taken from ACQUIRING until RELEASING is over, so that a slot which is still being wiped is never
counted as free, and no place is ever promised twice. Waiting is first come, first served over trajectories.
A trajectory whose daemon went away is LOST until it is forgotten: its workspace is gone, and starting again
in an empty one would be a lie that is trained on.

Every method is O(1) (``remove_daemon``: in the trajectories of that daemon). Methods that can free a place
return the assignments that follow; the caller does the I/O.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from enum import Enum
from typing import NewType

from attrs import define, frozen

TrajectoryId = NewType("TrajectoryId", str)
DaemonName = NewType("DaemonName", str)


class PlaceState(Enum):
    """Where a trajectory stands."""

    WAITING = "waiting"
    ACQUIRING = "acquiring"
    LEASED = "leased"
    RELEASING = "releasing"
    LOST = "lost"


@frozen
class Assignment:
    """Decision: this trajectory may ask this daemon for a slot now."""

    trajectory: TrajectoryId
    daemon: DaemonName


@frozen(kw_only=True)
class SlotTableStatistics:
    """Honest counts: ``total = free + taken`` at every moment."""

    total: int
    free: int
    taken: int
    """Places in the states ACQUIRING, LEASED and RELEASING."""
    leased: int
    waiting: int
    """Trajectories in the queue; they hold no place."""
    lost: int
    daemons: int
    closed: int
    """Daemons, of these, that get nobody new: silent, without a link, or draining."""


@define
class _Place:
    state: PlaceState
    daemon: DaemonName | None = None


@define
class _Daemon:
    places: int
    trajectories: dict[TrajectoryId, None]  # in the order in which they came
    paused: bool = False
    draining: bool = False

    @property
    def closed(self) -> bool:
        return self.paused or self.draining

    @property
    def free(self) -> int:
        return self.places - len(self.trajectories)


class SlotTable:
    """The decisions. Nothing here waits, and nothing here knows what a link is."""

    def __init__(self) -> None:
        self._places: dict[TrajectoryId, _Place] = {}
        self._daemons: dict[DaemonName, _Daemon] = {}
        self._open: OrderedDict[DaemonName, None] = OrderedDict()  # daemons with a free place, next one first
        self._queue: OrderedDict[TrajectoryId, None] = OrderedDict()
        self._counts = dict.fromkeys(PlaceState, 0)
        self._total = 0

    def __repr__(self) -> str:
        s = self.statistics()
        return (
            f"<SlotTable {s.leased} leased, {s.free} free of {s.total}, {s.waiting} waiting, {s.lost} lost>"
        )

    def statistics(self) -> SlotTableStatistics:
        """A snapshot."""
        counts = self._counts
        taken = counts[PlaceState.ACQUIRING] + counts[PlaceState.LEASED] + counts[PlaceState.RELEASING]
        return SlotTableStatistics(
            total=self._total,
            free=self._total - taken,
            taken=taken,
            leased=counts[PlaceState.LEASED],
            waiting=counts[PlaceState.WAITING],
            lost=counts[PlaceState.LOST],
            daemons=len(self._daemons),
            closed=sum(daemon.closed for daemon in self._daemons.values()),
        )

    @property
    def total(self) -> int:
        """Places in service."""
        return self._total

    def state(self, trajectory: TrajectoryId) -> PlaceState | None:
        """Where the trajectory stands; ``None``: unknown here."""
        place = self._places.get(trajectory)
        return place.state if place else None

    # --- daemons --------------------------------------------------------------------------------------

    def add_daemon(self, daemon: DaemonName, places: int) -> tuple[Assignment, ...]:
        """A daemon with this many places joins."""
        if daemon in self._daemons:
            raise ValueError(f"daemon {daemon!r} is already here")
        self._daemons[daemon] = _Daemon(places, {})
        self._total += places
        self._reopen(daemon)
        return self._assign()

    def remove_daemon(self, daemon: DaemonName) -> tuple[TrajectoryId, ...]:
        """A daemon is gone. Returns the trajectories that lost their workspace or their hope of one.

        Those that only waited for a slot there go back to the head of the queue: they have lost nothing.
        The caller must call :meth:`assignments` afterwards.
        """
        gone = self._daemons.pop(daemon)
        self._total -= gone.places
        self._open.pop(daemon, None)
        lost = []
        for trajectory in reversed(gone.trajectories):
            place = self._places[trajectory]
            place.daemon = None
            match place.state:
                case PlaceState.ACQUIRING:
                    self._requeue(trajectory, place)
                case PlaceState.RELEASING:
                    self._drop(trajectory, place)
                case _:
                    self._move(place, PlaceState.LOST)
                    lost.append(trajectory)
        return tuple(lost)

    def pause(self, daemon: DaemonName) -> None:
        """Nobody new goes to this daemon until :meth:`resume`."""
        self._daemons[daemon].paused = True
        self._open.pop(daemon, None)

    def resume(self, daemon: DaemonName) -> tuple[Assignment, ...]:
        """The daemon is as it was before :meth:`pause`."""
        self._daemons[daemon].paused = False
        self._reopen(daemon)
        return self._assign()

    def drain(self, daemon: DaemonName) -> None:
        """Nobody new goes to this daemon any more."""
        self._daemons[daemon].draining = True
        self._open.pop(daemon, None)

    def is_draining(self, trajectory: TrajectoryId) -> bool:
        """Whether the daemon that the trajectory was sent to gives no leases any more."""
        daemon = self._places[trajectory].daemon
        return daemon is not None and self._daemons[daemon].draining

    def mended(self, daemon: DaemonName) -> tuple[Assignment, ...]:
        """A place that was taken out of service is shown to be clean: it is back."""
        self._daemons[daemon].places += 1
        self._total += 1
        self._reopen(daemon)
        return self._assign()

    def assignments(self) -> tuple[Assignment, ...]:
        """Decide what can be decided now."""
        return self._assign()

    # --- trajectories ---------------------------------------------------------------------------------

    def request(self, trajectory: TrajectoryId) -> tuple[Assignment, ...]:
        """A trajectory that is unknown here wants a slot."""
        if trajectory in self._places:
            raise ValueError(f"trajectory {trajectory!r} is {self._places[trajectory].state.value}")
        self._places[trajectory] = _Place(PlaceState.WAITING)
        self._counts[PlaceState.WAITING] += 1
        self._queue[trajectory] = None
        return self._assign()

    def fork(self, trajectory: TrajectoryId, into: Sequence[TrajectoryId]) -> int:
        """Takes places for these on the daemon of a trajectory that is LEASED: all are ACQUIRING then.

        Returns how many free places are missing; with any, nothing has changed.
        """
        name = self._expect(trajectory, PlaceState.LEASED).daemon
        assert name is not None
        daemon = self._daemons[name]
        known = [child for child in into if child in self._places]
        if known:
            raise ValueError(f"trajectory {known[0]!r} is {self._places[known[0]].state.value}")
        missing = len(into) - (0 if daemon.draining else daemon.free)
        if missing > 0:
            return missing
        for child in into:
            daemon.trajectories[child] = None
            self._places[child] = _Place(PlaceState.ACQUIRING, name)
            self._counts[PlaceState.ACQUIRING] += 1
        if daemon.free < 1:
            self._open.pop(name, None)
        return 0

    def withdraw(self, trajectory: TrajectoryId) -> bool:
        """A trajectory no longer waits. False: it does not merely wait (any more); nothing happened."""
        place = self._places.get(trajectory)
        if place is None or place.state is not PlaceState.WAITING:
            return False
        del self._queue[trajectory]
        self._drop(trajectory, place)
        return True

    def granted(self, trajectory: TrajectoryId) -> None:
        """The daemon gave the slot it was asked for."""
        self._move(self._expect(trajectory, PlaceState.ACQUIRING), PlaceState.LEASED)

    def refused(self, trajectory: TrajectoryId) -> tuple[Assignment, ...]:
        """The daemon did not give a slot, or it is not wanted any more: the place is free again."""
        return self._free(trajectory, self._expect(trajectory, PlaceState.ACQUIRING))

    def turned_away(self, trajectory: TrajectoryId) -> tuple[Assignment, ...]:
        """The daemon gives no slots any more: the trajectory waits at the head of the queue again."""
        place = self._expect(trajectory, PlaceState.ACQUIRING)
        assert place.daemon is not None
        del self._daemons[place.daemon].trajectories[trajectory]
        self._reopen(place.daemon)
        self._requeue(trajectory, place)
        return self._assign()

    def release_begun(self, trajectory: TrajectoryId) -> None:
        """The slot is being given back; its place stays taken until that is over."""
        self._move(self._expect(trajectory, PlaceState.LEASED), PlaceState.RELEASING)

    def release_done(self, trajectory: TrajectoryId, *, quarantined: bool = False) -> tuple[Assignment, ...]:
        """The slot was given back. A quarantined one takes its place out of service."""
        place = self._expect(trajectory, PlaceState.RELEASING)
        assert place.daemon is not None
        self._daemons[place.daemon].places -= quarantined
        self._total -= quarantined
        return self._free(trajectory, place)

    def lost(self, trajectory: TrajectoryId) -> tuple[Assignment, ...]:
        """A leased slot was taken out of service under its trajectory."""
        place = self._expect(trajectory, PlaceState.LEASED)
        assert place.daemon is not None
        daemon = self._daemons[place.daemon]
        daemon.trajectories.pop(trajectory, None)
        daemon.places -= 1
        self._total -= 1
        place.daemon = None
        self._move(place, PlaceState.LOST)
        return self._assign()

    def forget(self, trajectory: TrajectoryId) -> None:
        """A lost trajectory was released: it may start anew."""
        self._drop(trajectory, self._expect(trajectory, PlaceState.LOST))

    # --- how ------------------------------------------------------------------------------------------

    def _assign(self) -> tuple[Assignment, ...]:
        """Give free places to the queue, taking the daemons in turn so that load spreads."""
        decided = []
        while self._queue and self._open:
            trajectory, _ = self._queue.popitem(last=False)
            name, _ = self._open.popitem(last=False)
            self._daemons[name].trajectories[trajectory] = None
            self._reopen(name)
            place = self._places[trajectory]
            place.daemon = name
            self._move(place, PlaceState.ACQUIRING)
            decided.append(Assignment(trajectory, name))
        return tuple(decided)

    def _free(self, trajectory: TrajectoryId, place: _Place) -> tuple[Assignment, ...]:
        assert place.daemon is not None
        self._daemons[place.daemon].trajectories.pop(trajectory, None)
        self._reopen(place.daemon)
        self._drop(trajectory, place)
        return self._assign()

    def _requeue(self, trajectory: TrajectoryId, place: _Place) -> None:
        place.daemon = None
        self._move(place, PlaceState.WAITING)
        self._queue[trajectory] = None
        self._queue.move_to_end(trajectory, last=False)

    def _reopen(self, daemon: DaemonName) -> None:
        if self._daemons[daemon].free > 0 and not self._daemons[daemon].closed:
            self._open[daemon] = None

    def _drop(self, trajectory: TrajectoryId, place: _Place) -> None:
        self._counts[place.state] -= 1
        del self._places[trajectory]

    def _move(self, place: _Place, state: PlaceState) -> None:
        self._counts[place.state] -= 1
        self._counts[state] += 1
        place.state = state

    def _expect(self, trajectory: TrajectoryId, state: PlaceState) -> _Place:
        place = self._places.get(trajectory)
        if place is None or place.state is not state:
            found = place.state.value if place else "unknown"
            raise ValueError(f"trajectory {trajectory!r} is {found}, not {state.value}")
        return place
