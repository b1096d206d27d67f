"""PURE: which slot is in which state, who holds it, and who is next.

::

    COLD ──warm──> NEW
    NEW ──ready──> READY ──lease──> LEASED ──release──> DIRTY ──ready──> READY
                     ^                 │                  │  ^
                     │                 │                  │  └─ release(keep): stays DIRTY, kept for its
                    owner │                 │                  └──lease by that owner, as it is──>
                     LEASED
    NEW, DIRTY ──cool──> COLD
    any state ──quarantine──> QUARANTINED (for good)

A cold slot has no agent: more slots may be offered than are worth their memory while nobody wants them. Two
rules: everything that changes a slot's state is in this file; a slot is handed out only from READY, or
from DIRTY to the owner who asked for it to be kept. An epoch counts the changes of hands; a lease with
another epoch than the slot's is stale and nothing is done for it.

Who waits is served first come, first served within an owner, and owners take turns: one that asks for a
hundred slots at once does not keep another from its first.

Every method decides and returns what has to be done; doing it is the pool's.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum

from attrs import define, field, frozen

from hermes_trio.wire.frames import Lease, SlotId


class StaleLeaseError(Exception):
    """The lease is no longer (or never was) the right to its slot. Nothing was done."""

    def __init__(self, lease: Lease) -> None:
        super().__init__(f"stale lease: slot {lease.slot}, epoch {lease.epoch}")
        self.lease = lease


class SlotState(StrEnum):
    """Where a slot is in its life."""

    COLD = "cold"
    NEW = "new"
    READY = "ready"
    LEASED = "leased"
    DIRTY = "dirty"
    QUARANTINED = "quarantined"


@frozen
class User:
    """Who asks: an owner of leases (a session) and what it wants the slot for."""

    owner: str
    trajectory_id: str


@frozen
class Grant:
    """A waiting request that has got its slot."""

    ticket: int
    lease: Lease


@define
class _Slot:
    state: SlotState = SlotState.NEW
    epoch: int = 0
    user: User | None = None
    """Who holds it (LEASED) or may have it back as it was (DIRTY and kept)."""
    kept: bool = False


@define(eq=False)
class SlotTable:
    """The table. Constant time per event, but for :meth:`leases_of`."""

    _slots: dict[SlotId, _Slot]
    _ready: deque[SlotId] = field(factory=deque)
    _lines: OrderedDict[str, OrderedDict[int, User]] = field(factory=OrderedDict)
    """Who waits, by owner; none is empty; the owner whose turn it is comes first."""
    _owners: dict[int, str] = field(factory=dict)
    """Of each ticket that waits."""
    _cold: deque[SlotId] = field(factory=deque)
    _starting: int = 0
    """Slots that are NEW."""
    _kept: OrderedDict[SlotId, User] = field(factory=OrderedDict)
    _tickets: int = 0

    @classmethod
    def of(cls, slots: Iterable[SlotId]) -> SlotTable:
        """A table of new slots."""
        table = cls({slot: _Slot() for slot in slots})
        table._starting = len(table._slots)
        return table

    def __repr__(self) -> str:
        counts = " ".join(f"{state.value}={count}" for state, count in self.counts().items() if count)
        return f"<SlotTable {counts} waiting={self.waiting}>"

    @property
    def waiting(self) -> int:
        """Requests without a slot."""
        return len(self._owners)

    def counts(self) -> Mapping[SlotState, int]:
        """How many slots are in each state."""
        counts = dict.fromkeys(SlotState, 0)
        for slot in self._slots.values():
            counts[slot.state] += 1
        return counts

    def state(self, slot: SlotId) -> SlotState:
        """A slot's state."""
        return self._slots[slot].state

    def request(self, user: User) -> tuple[int, Grant | None]:
        """Asks for a slot: a ticket, and the grant when there is one at once."""
        self._tickets += 1
        ticket = self._tickets
        slot = self._kept_where(lambda keeper: keeper == user)
        if slot is None and not self._lines:
            slot = self._ready.popleft() if self._ready else self._kept_where(_same_owner(user))
        if slot is not None:
            return ticket, Grant(ticket, self._lease(slot, user))
        self._lines.setdefault(user.owner, OrderedDict())[ticket] = user
        self._owners[ticket] = user.owner
        return ticket, None

    def can_serve(self, count: int) -> bool:
        """Whether so many requests would be served from slots that are clean or about to be."""
        return not self._lines and self.coming() >= count

    def coming(self) -> int:
        """Slots that nobody has and that are clean, or will be without anybody's doing."""
        dirty = self.counts()[SlotState.DIRTY] - len(self._kept)
        return len(self._ready) + len(self._cold) + self._starting + dirty

    def withdraw(self, ticket: int) -> None:
        """The request is no longer wanted. Harmless when it has been granted."""
        owner = self._owners.pop(ticket, None)
        if owner is not None:
            line = self._lines[owner]
            del line[ticket]
            if not line:
                del self._lines[owner]

    def hand_on(self) -> Grant | None:
        """Gives a kept slot, as it is, to who waits longest, if it is the owner who wanted it kept."""
        if not self._lines:
            return None
        user = next(iter(next(iter(self._lines.values())).values()))
        slot = self._kept_where(_same_owner(user))
        return None if slot is None else self._grant_next(slot)

    def wanted(self) -> SlotId | None:
        """A kept slot to reset now because somebody waits; it is no longer kept. ``None``: no need."""
        if not self._lines or not self._kept:
            return None
        slot, _ = self._kept.popitem(last=False)
        self._slots[slot].kept = False
        return slot

    def check(self, lease: Lease) -> None:
        """Raises :class:`StaleLeaseError` unless the lease is good now."""
        slot = self._slots.get(lease.slot)
        if slot is None or slot.state is not SlotState.LEASED or slot.epoch != lease.epoch:
            raise StaleLeaseError(lease)

    def release(self, lease: Lease, *, keep: bool) -> None:
        """LEASED to DIRTY. ``keep``: its owner may have it back as it is; others only after a reset."""
        self.check(lease)
        slot = self._slots[lease.slot]
        slot.state = SlotState.DIRTY
        slot.kept = keep
        if keep:
            assert slot.user is not None
            self._kept[lease.slot] = slot.user

    def cool(self, slot_id: SlotId) -> None:
        """NEW or DIRTY to COLD: it has no agent and nothing in it."""
        slot = self._slots[slot_id]
        if slot.state not in (SlotState.NEW, SlotState.DIRTY) or slot.kept:
            raise ValueError(f"slot {slot_id} is {slot.state.value}")
        self._starting -= slot.state is SlotState.NEW
        slot.state = SlotState.COLD
        self._cold.append(slot_id)

    def is_spare(self, mark: int) -> bool:
        """Whether a dirty slot need not become ready: nobody waits, and ``mark`` others are or will be."""
        return not self.waiting and len(self._ready) + self._starting >= mark

    def warm(self, mark: int) -> SlotId | None:
        """COLD to NEW, when less than ``mark`` slots are ready or starting, or than requests are waiting."""
        wanted = max(mark - len(self._ready), self.waiting)
        if not self._cold or self._starting >= wanted:
            return None
        slot_id = self._cold.popleft()
        self._slots[slot_id].state = SlotState.NEW
        self._starting += 1
        return slot_id

    def ready(self, slot_id: SlotId) -> Grant | None:
        """NEW or DIRTY to READY: it was shown to be empty. Returns who gets it."""
        slot = self._slots[slot_id]
        if slot.state not in (SlotState.NEW, SlotState.DIRTY) or slot.kept:
            raise ValueError(f"slot {slot_id} is {slot.state.value}")
        self._starting -= slot.state is SlotState.NEW
        slot.state = SlotState.READY
        if not self._lines:
            self._ready.append(slot_id)
            return None
        return self._grant_next(slot_id)

    def quarantine(self, slot_id: SlotId) -> None:
        """Never again. Leases on it are stale from now on."""
        slot = self._slots[slot_id]
        if slot.state is SlotState.READY:
            self._ready.remove(slot_id)
        if slot.state is SlotState.COLD:
            self._cold.remove(slot_id)
        self._starting -= slot.state is SlotState.NEW
        self._kept.pop(slot_id, None)
        slot.state = SlotState.QUARANTINED
        slot.user = None
        slot.kept = False

    def leases_of(self, owner: str) -> tuple[Lease, ...]:
        """All good leases of one owner."""
        return tuple(
            Lease(slot=name, epoch=slot.epoch)
            for name, slot in self._slots.items()
            if slot.state is SlotState.LEASED and slot.user is not None and slot.user.owner == owner
        )

    def unkeep(self, owner: str) -> tuple[SlotId, ...]:
        """The owner is gone: what was kept for it is to be reset."""
        slots = tuple(name for name, user in self._kept.items() if user.owner == owner)
        for name in slots:
            del self._kept[name]
            self._slots[name].kept = False
        return slots

    def _grant_next(self, slot_id: SlotId) -> Grant:
        """The slot goes to the first in the line of the owner whose turn it is; then others have theirs."""
        owner, line = self._lines.popitem(last=False)
        ticket, user = line.popitem(last=False)
        if line:
            self._lines[owner] = line
        del self._owners[ticket]
        return Grant(ticket, self._lease(slot_id, user))

    def _kept_where(self, fits: Callable[[User], bool]) -> SlotId | None:
        # Few slots are kept at a time, and only on request; an index would cost more than this scan.
        found = next((name for name, keeper in self._kept.items() if fits(keeper)), None)
        if found is not None:
            del self._kept[found]
        return found

    def _lease(self, slot_id: SlotId, user: User) -> Lease:
        slot = self._slots[slot_id]
        slot.state = SlotState.LEASED
        slot.epoch += 1
        slot.user = user
        slot.kept = False
        return Lease(slot=slot_id, epoch=slot.epoch)


def _same_owner(user: User) -> Callable[[User], bool]:
    return lambda keeper: keeper.owner == user.owner
