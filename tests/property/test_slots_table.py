"""The slot table against a plain model: never double-booked, fair, and honest in its counts."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from hermes_trio.slots.table import Assignment, DaemonName, PlaceState, SlotTable, TrajectoryId

TRAJECTORIES = [TrajectoryId(f"t{n}") for n in range(8)]
DAEMONS = [DaemonName(f"d{n}") for n in range(3)]


class TableMachine(RuleBasedStateMachine):
    """Random events; the model keeps what the table must agree with."""

    def __init__(self) -> None:
        super().__init__()
        self.table = SlotTable()
        self.places: dict[DaemonName, int] = {}
        self.where: dict[TrajectoryId, DaemonName] = {}
        self.queue: list[TrajectoryId] = []
        self.state: dict[TrajectoryId, PlaceState] = {}
        self.paused: set[DaemonName] = set()
        self.draining: set[DaemonName] = set()
        self.out_of_service: dict[DaemonName, int] = dict.fromkeys(DAEMONS, 0)

    def follow(self, assignments: tuple[Assignment, ...]) -> None:
        """Assignments must go to the head of the queue and to a daemon with room."""
        for assignment in assignments:
            assert assignment.trajectory == self.queue.pop(0)
            assert assignment.daemon not in self.paused | self.draining
            self.where[assignment.trajectory] = assignment.daemon
            self.state[assignment.trajectory] = PlaceState.ACQUIRING

    def in_state(self, state: PlaceState) -> list[TrajectoryId]:
        """Trajectories of the model in this state."""
        return [trajectory for trajectory, found in self.state.items() if found is state]

    @rule(daemon=st.sampled_from(DAEMONS), places=st.integers(0, 3))
    def add_daemon(self, daemon: DaemonName, places: int) -> None:
        """A daemon joins, or a second one of that name is refused."""
        if daemon in self.places:
            with pytest.raises(ValueError, match="already here"):
                self.table.add_daemon(daemon, places)
            return
        self.places[daemon] = places
        self.follow(self.table.add_daemon(daemon, places))

    @precondition(lambda self: self.places)
    @rule(data=st.data())
    def remove_daemon(self, data: st.DataObject) -> None:
        """A daemon leaves: the leased are lost, those still asking queue up first, in their order."""
        daemon = data.draw(st.sampled_from(sorted(self.places)))
        del self.places[daemon]
        self.paused.discard(daemon)
        self.draining.discard(daemon)
        self.out_of_service[daemon] = 0
        mine = [trajectory for trajectory, where in self.where.items() if where == daemon]
        lost = self.table.remove_daemon(daemon)
        assert set(lost) == {t for t in mine if self.state[t] is PlaceState.LEASED}
        asking = [t for t in mine if self.state[t] is PlaceState.ACQUIRING]
        for trajectory in mine:
            del self.where[trajectory]
            if self.state[trajectory] is PlaceState.RELEASING:
                del self.state[trajectory]
        self.state.update(dict.fromkeys(lost, PlaceState.LOST))
        self.state.update(dict.fromkeys(asking, PlaceState.WAITING))
        self.queue = asking + self.queue
        self.follow(self.table.assignments())

    @rule(trajectory=st.sampled_from(TRAJECTORIES))
    def request(self, trajectory: TrajectoryId) -> None:
        """An unknown trajectory queues up; a known one is refused."""
        if trajectory in self.state:
            with pytest.raises(ValueError, match=trajectory):
                self.table.request(trajectory)
            return
        self.state[trajectory] = PlaceState.WAITING
        self.queue.append(trajectory)
        self.follow(self.table.request(trajectory))

    @rule(trajectory=st.sampled_from(TRAJECTORIES))
    def withdraw(self, trajectory: TrajectoryId) -> None:
        """Only those who merely wait can withdraw, and nothing of them stays."""
        waits = self.state.get(trajectory) is PlaceState.WAITING
        assert self.table.withdraw(trajectory) is waits
        if waits:
            del self.state[trajectory]
            self.queue.remove(trajectory)

    @precondition(lambda self: self.in_state(PlaceState.ACQUIRING))
    @rule(data=st.data(), granted=st.booleans())
    def answer(self, data: st.DataObject, granted: bool) -> None:
        """The daemon grants or refuses."""
        trajectory = data.draw(st.sampled_from(self.in_state(PlaceState.ACQUIRING)))
        if granted:
            self.state[trajectory] = PlaceState.LEASED
            self.table.granted(trajectory)
        else:
            del self.state[trajectory], self.where[trajectory]
            self.follow(self.table.refused(trajectory))

    @precondition(lambda self: self.in_state(PlaceState.LEASED))
    @rule(data=st.data(), condemned=st.booleans())
    def leave(self, data: st.DataObject, condemned: bool) -> None:
        """A leased slot is given back, or lost to quarantine."""
        trajectory = data.draw(st.sampled_from(self.in_state(PlaceState.LEASED)))
        if condemned:
            daemon = self.where.pop(trajectory)
            self.places[daemon] -= 1
            self.out_of_service[daemon] += 1
            self.state[trajectory] = PlaceState.LOST
            self.follow(self.table.lost(trajectory))
        else:
            self.state[trajectory] = PlaceState.RELEASING
            self.table.release_begun(trajectory)

    @precondition(lambda self: self.in_state(PlaceState.RELEASING))
    @rule(data=st.data(), quarantined=st.booleans())
    def released(self, data: st.DataObject, quarantined: bool) -> None:
        """The daemon has wiped the slot, or could not."""
        trajectory = data.draw(st.sampled_from(self.in_state(PlaceState.RELEASING)))
        daemon = self.where.pop(trajectory)
        del self.state[trajectory]
        self.places[daemon] -= quarantined
        self.follow(self.table.release_done(trajectory, quarantined=quarantined))

    @precondition(lambda self: self.in_state(PlaceState.LOST))
    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        """A lost trajectory is released."""
        trajectory = data.draw(st.sampled_from(self.in_state(PlaceState.LOST)))
        del self.state[trajectory]
        self.table.forget(trajectory)

    @precondition(lambda self: self.places)
    @rule(data=st.data(), what=st.sampled_from(["pause", "resume", "drain"]))
    def close(self, data: st.DataObject, what: str) -> None:
        """A daemon is not to be entrusted with anybody new, or it is again; draining is for good."""
        daemon = data.draw(st.sampled_from(sorted(self.places)))
        if what == "pause":
            self.paused.add(daemon)
            self.table.pause(daemon)
        elif what == "drain":
            self.draining.add(daemon)
            self.table.drain(daemon)
        else:
            self.paused.discard(daemon)
            self.follow(self.table.resume(daemon))

    @precondition(lambda self: self.in_state(PlaceState.ACQUIRING))
    @rule(data=st.data())
    def turn_away(self, data: st.DataObject) -> None:
        """A daemon that drains sends back who was under way: to the head of the queue."""
        trajectory = data.draw(st.sampled_from(self.in_state(PlaceState.ACQUIRING)))
        assert self.table.is_draining(trajectory) is (self.where[trajectory] in self.draining)
        del self.where[trajectory]
        self.state[trajectory] = PlaceState.WAITING
        self.queue.insert(0, trajectory)
        self.follow(self.table.turned_away(trajectory))

    @precondition(lambda self: any(self.out_of_service.values()))
    @rule(data=st.data())
    def mend(self, data: st.DataObject) -> None:
        """A slot that was condemned has been wiped after all."""
        daemon = data.draw(st.sampled_from([name for name, out in self.out_of_service.items() if out]))
        self.out_of_service[daemon] -= 1
        self.places[daemon] += 1
        self.follow(self.table.mended(daemon))

    @invariant()
    def never_double_booked(self) -> None:
        """No daemon holds more trajectories than it has places."""
        for daemon, places in self.places.items():
            assert sum(where == daemon for where in self.where.values()) <= places

    @invariant()
    def nobody_waits_beside_a_free_place(self) -> None:
        """A free place of a daemon that is open and a waiting trajectory never meet."""
        closed = self.paused | self.draining
        open_places = sum(places for daemon, places in self.places.items() if daemon not in closed)
        assert not self.queue or open_places == sum(where not in closed for where in self.where.values())

    @invariant()
    def counts_are_honest(self) -> None:
        """Statistics equal the model's."""
        found = self.table.statistics()
        assert found.total == sum(self.places.values()) == self.table.total
        assert found.taken == len(self.where)
        assert found.free == found.total - found.taken
        assert found.waiting == len(self.queue)
        assert found.leased == len(self.in_state(PlaceState.LEASED))
        assert found.lost == len(self.in_state(PlaceState.LOST))
        assert found.daemons == len(self.places)
        assert found.closed == len(self.paused | self.draining)
        for trajectory in TRAJECTORIES:
            assert self.table.state(trajectory) is self.state.get(trajectory)


TestTable = TableMachine.TestCase


def test_a_step_out_of_order_is_refused_and_named() -> None:
    """The table says what it found instead of what it needed."""
    table = SlotTable()
    with pytest.raises(ValueError, match="'t' is unknown, not leased"):
        table.release_begun(TrajectoryId("t"))
    table.request(TrajectoryId("t"))
    with pytest.raises(ValueError, match="'t' is waiting, not acquiring"):
        table.granted(TrajectoryId("t"))
    assert repr(table) == "<SlotTable 0 leased, 0 free of 0, 1 waiting, 0 lost>"
