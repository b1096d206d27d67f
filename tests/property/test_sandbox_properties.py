"""Properties of the daemon's pure rooms: capture, agent messages, slot table."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from hermes_trio.wire.frames import Lease, SlotId
from sandbox_daemon.agent import protocol
from sandbox_daemon.process.output import BoundedCapture
from sandbox_daemon.slots.table import SlotState, SlotTable, StaleLeaseError, User


@given(st.lists(st.binary(max_size=40)), st.integers(0, 64))
def test_a_capture_depends_on_the_stream_and_not_on_its_pieces(pieces: list[bytes], limit: int) -> None:
    """Head, tail and total are those of the whole."""
    capture = BoundedCapture(limit)
    for piece in pieces:
        capture.feed(memoryview(piece))
    whole = b"".join(pieces)
    head, tail = limit // 2, limit - limit // 2
    kept = whole if len(whole) <= limit else whole[:head] + whole[len(whole) - tail :]
    assert (capture.kept(), capture.total, capture.truncated) == (kept, len(whole), len(whole) > limit)


@given(st.data())
def test_every_agent_message_survives_the_way(data: st.DataObject) -> None:
    """Whatever the strings hold."""
    kind = data.draw(st.sampled_from(sorted(protocol._FIXED)))
    layout = protocol._FIXED[kind]
    fixed = layout.unpack(data.draw(st.binary(min_size=layout.size, max_size=layout.size)))
    count = protocol._STRINGS.get(kind, 0)
    strings = data.draw(st.lists(st.binary(max_size=50), min_size=count, max_size=count))
    call_id = data.draw(st.integers(0, 2**32 - 1))
    packed = protocol.pack(kind, call_id, fixed, tuple(strings))
    assert protocol.unpack(packed) == (kind, call_id, fixed, strings)


@given(
    st.binary(max_size=80)
    | st.tuples(st.sampled_from(sorted(protocol._FIXED)), st.binary()).map(lambda p: bytes([p[0]]) + p[1])
)
def test_any_bytes_are_a_message_or_a_value_error(data: bytes) -> None:
    """And a message is exactly what packing would have made."""
    try:
        kind, call_id, fixed, strings = protocol.unpack(data)
    except ValueError:
        return
    assert protocol.pack(kind, call_id, fixed, tuple(strings)) == data


_names = st.text(st.characters(exclude_characters="=\0", exclude_categories=["Cs"]), min_size=1)
_values = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


@given(st.dictionaries(_names, _values))
def test_an_environment_survives_the_way(pairs: dict[str, str]) -> None:
    """Values may hold anything but NUL."""
    unpacked = protocol.unpack_environment(protocol.pack_environment(pairs))
    assert unpacked == {name.encode(): value.encode() for name, value in pairs.items()}


class TableMachine(RuleBasedStateMachine):
    """The slot table against a model: who holds what, who waits in which order, what is kept for whom."""

    leases = Bundle("leases")

    def __init__(self) -> None:
        super().__init__()
        self.names = [SlotId(f"s{number}") for number in range(3)]
        self.table = SlotTable.of(self.names)
        self.queue: list[tuple[int, User]] = []
        self.turns: list[str] = []  # owners who wait, in the order in which they are served
        self.held: dict[SlotId, tuple[Lease, User]] = {}
        self.kept: dict[SlotId, User] = {}
        self.dirty: set[SlotId] = set(self.names)
        self.cold: set[SlotId] = set()
        self.starting: set[SlotId] = set(self.names)
        self.dead: set[SlotId] = set()
        self.epochs = dict.fromkeys(self.names, 0)

    def _granted(self, lease: Lease, user: User) -> Lease:
        assert lease.slot not in self.held
        assert lease.slot not in self.dirty | self.dead | self.cold
        assert lease.epoch > self.epochs[lease.slot]
        self.epochs[lease.slot] = lease.epoch
        self.held[lease.slot] = (lease, user)
        return lease

    def _free(self) -> set[SlotId]:
        return set(self.names) - set(self.held) - self.dirty - self.dead - set(self.kept) - self.cold

    def next_in_line(self) -> tuple[int, User]:
        """The first of the owner whose turn it is, who then goes to the end of the owners."""
        owner = self.turns.pop(0)
        found = next(waiting for waiting in self.queue if waiting[1].owner == owner)
        self.queue.remove(found)
        if any(user.owner == owner for _, user in self.queue):
            self.turns.append(owner)
        return found

    @rule(target=leases, owner=st.sampled_from("ab"), trajectory=st.sampled_from("xy"))
    def request(self, owner: str, trajectory: str) -> Lease:
        """The slot one kept first, else a ready one, else one that one's owner kept, else the queue."""
        user = User(owner, trajectory)
        own = {slot for slot, keeper in self.kept.items() if keeper == user}
        free = self._free()
        if not self.queue:
            free = free or {slot for slot, keeper in self.kept.items() if keeper.owner == owner}
        ticket, grant = self.table.request(user)
        if grant is None:
            assert not own
            assert not free
            self.queue.append((ticket, user))
            if owner not in self.turns:
                self.turns.append(owner)
            return Lease(slot=self.names[0], epoch=0)  # never good
        assert grant.lease.slot in (own or free)
        self.kept.pop(grant.lease.slot, None)
        return self._granted(grant.lease, user)

    @rule(lease=consumes(leases), keep=st.booleans())
    def release(self, lease: Lease, keep: bool) -> None:
        """Exactly the holder's lease can be released."""
        held = self.held.get(lease.slot)
        if held is None or held[0] != lease:
            with pytest.raises(StaleLeaseError):
                self.table.release(lease, keep=keep)
            return
        self.table.release(lease, keep=keep)
        del self.held[lease.slot]
        if keep:
            self.kept[lease.slot] = held[1]
        else:
            self.dirty.add(lease.slot)

    @rule(target=leases, index=st.integers(0, 2))
    def ready(self, index: int) -> Lease:
        """A proven slot goes to who waits longest, else back to the pool."""
        slot = self.names[index]
        if slot not in self.dirty:
            with pytest.raises(ValueError, match=slot):
                self.table.ready(slot)
            return Lease(slot=slot, epoch=0)
        self.dirty.remove(slot)
        self.starting.discard(slot)
        grant = self.table.ready(slot)
        if not self.queue:
            assert grant is None
            return Lease(slot=slot, epoch=0)
        ticket, user = self.next_in_line()
        assert grant is not None
        assert (grant.ticket, grant.lease.slot) == (ticket, slot)
        return self._granted(grant.lease, user)

    @rule(index=st.integers(0, 2), mark=st.integers(0, 3))
    def cool(self, index: int, mark: int) -> None:
        """A slot that nobody needs loses its agent."""
        slot = self.names[index]
        spare = not self.queue and len(self._free()) + len(self.starting) >= mark
        assert self.table.is_spare(mark) is spare
        if slot not in self.dirty:
            with pytest.raises(ValueError, match=slot):
                self.table.cool(slot)
            return
        self.table.cool(slot)
        self.dirty.remove(slot)
        self.starting.discard(slot)
        self.cold.add(slot)

    @rule(mark=st.integers(0, 3))
    def warm(self, mark: int) -> None:
        """As many as are waited for or fill the pool to the mark, and no more."""
        wanted = max(mark - len(self._free()), len(self.queue))
        slot = self.table.warm(mark)
        assert (slot is not None) is bool(self.cold and len(self.starting) < wanted)
        if slot is not None:
            self.cold.remove(slot)
            self.dirty.add(slot)
            self.starting.add(slot)

    @rule(index=st.integers(0, 5))
    def withdraw(self, index: int) -> None:
        """One who waits gives up, or somebody who does not."""
        if index < len(self.queue):
            ticket, user = self.queue.pop(index)
            if all(other.owner != user.owner for _, other in self.queue):
                self.turns.remove(user.owner)
            self.table.withdraw(ticket)
        else:
            self.table.withdraw(10_000)

    @rule(target=leases)
    def hand_on(self) -> Lease:
        """A kept slot goes as it is to who waits longest, if its owner is the same."""
        grant = self.table.hand_on()
        if grant is None:
            assert not self.queue or all(keeper.owner != self.turns[0] for keeper in self.kept.values())
            return Lease(slot=self.names[0], epoch=0)  # never good
        ticket, user = self.next_in_line()
        assert grant.ticket == ticket
        assert self.kept.pop(grant.lease.slot).owner == user.owner
        return self._granted(grant.lease, user)

    @rule()
    def wanted(self) -> None:
        """A kept slot is taken away only when somebody waits."""
        slot = self.table.wanted()
        if slot is None:
            assert not (self.queue and self.kept)
            return
        assert self.queue
        del self.kept[slot]
        self.dirty.add(slot)

    @rule(owner=st.sampled_from("ab"))
    def unkeep(self, owner: str) -> None:
        """What was kept for an owner that is gone."""
        slots = set(self.table.unkeep(owner))
        assert slots == {slot for slot, user in self.kept.items() if user.owner == owner}
        for slot in slots:
            del self.kept[slot]
        self.dirty |= slots

    @rule(index=st.integers(0, 2), dice=st.integers(0, 4))
    def quarantine(self, index: int, dice: int) -> None:
        """Rarely."""
        if dice:
            return
        slot = self.names[index]
        self.table.quarantine(slot)
        self.held.pop(slot, None)
        self.kept.pop(slot, None)
        self.dirty.discard(slot)
        self.cold.discard(slot)
        self.starting.discard(slot)
        self.dead.add(slot)

    @invariant()
    def agree(self) -> None:
        """Counts, leases and the queue are those of the model."""
        counts = self.table.counts()
        assert counts[SlotState.LEASED] == len(self.held)
        assert counts[SlotState.QUARANTINED] == len(self.dead)
        assert counts[SlotState.READY] == len(self._free())
        assert counts[SlotState.COLD] == len(self.cold)
        assert counts[SlotState.NEW] == len(self.starting)
        assert counts[SlotState.NEW] + counts[SlotState.DIRTY] == len(self.dirty) + len(self.kept)
        assert self.table.waiting == len(self.queue)
        for owner in "ab":
            mine = {lease for lease, user in self.held.values() if user.owner == owner}
            assert set(self.table.leases_of(owner)) == mine
        for lease, _ in self.held.values():
            self.table.check(lease)


TestSlotTable = TableMachine.TestCase
