"""The slot table, where examples say more than properties."""

from __future__ import annotations

import pytest

from hermes_trio.wire.frames import Lease, SlotId
from sandbox_daemon.slots.table import SlotState, SlotTable, StaleLeaseError, User

A, B = SlotId("a"), SlotId("b")


def ready_table() -> SlotTable:
    """Two ready slots."""
    table = SlotTable.of([A, B])
    assert table.ready(A) is None
    assert table.ready(B) is None
    return table


def test_its_repr_counts_what_there_is() -> None:
    """What is zero is left out."""
    table = ready_table()
    table.request(User("o", "t"))
    assert repr(table) == "<SlotTable ready=1 leased=1 waiting=0>"


def test_a_lease_grows_its_slots_epoch() -> None:
    """So that an old one can be told."""
    table = SlotTable.of([A])
    table.ready(A)
    leases = []
    for _ in range(3):
        _, grant = table.request(User("o", "t"))
        assert grant is not None
        leases.append(grant.lease)
        table.release(grant.lease, keep=False)
        table.ready(A)
    assert leases == [Lease(slot=A, epoch=epoch) for epoch in (1, 2, 3)]


def test_a_stale_lease_names_itself() -> None:
    """In the error."""
    lease = Lease(slot=SlotId("nowhere"), epoch=3)
    with pytest.raises(StaleLeaseError, match="stale lease: slot nowhere, epoch 3") as caught:
        ready_table().check(lease)
    assert caught.value.lease is lease


def test_nobody_overtakes_the_queue() -> None:
    """A ready slot goes to who waits, also when another asks at that moment."""
    table = SlotTable.of([A])
    first, _ = table.request(User("o", "1"))
    _, second_grant = table.request(User("o", "2"))
    assert second_grant is None
    grant = table.ready(A)
    assert grant is not None
    assert grant.ticket == first


def test_a_kept_slot_is_for_its_owner_only() -> None:
    """Others wait until it is wanted and reset."""
    table = SlotTable.of([A])
    table.ready(A)
    user = User("o", "t")
    _, grant = table.request(user)
    assert grant is not None
    table.release(grant.lease, keep=True)
    assert table.wanted() is None
    with pytest.raises(ValueError, match="slot a is dirty"):
        table.ready(A)
    _, other = table.request(User("p", "t"))
    assert other is None
    assert table.wanted() == A
    assert table.state(A) is SlotState.DIRTY
    assert table.ready(A) is not None


def test_a_kept_slot_comes_back_to_its_user() -> None:
    """As it was, with a new epoch, before those who wait."""
    table = SlotTable.of([A])
    table.ready(A)
    user = User("o", "t")
    _, grant = table.request(user)
    assert grant is not None
    table.release(grant.lease, keep=True)
    _, again = table.request(user)
    assert again is not None
    assert again.lease == Lease(slot=A, epoch=2)
    assert table.unkeep("o") == ()


def test_a_quarantined_slot_is_gone_from_everywhere() -> None:
    """Ready, kept or leased."""
    table = ready_table()
    table.quarantine(A)
    _, grant = table.request(User("o", "t"))
    assert grant is not None
    assert grant.lease.slot == B
    table.quarantine(B)
    with pytest.raises(StaleLeaseError):
        table.check(grant.lease)
    assert table.leases_of("o") == ()


def test_a_kept_slot_goes_as_it_is_to_the_next_of_its_owner() -> None:
    """Whoever asked for it to stay dirty gets it dirty, also when that one had to wait."""
    table = SlotTable.of([A])
    table.ready(A)
    _, first = table.request(User("o", "t"))
    assert first is not None
    waiting, none = table.request(User("o", "u"))
    assert none is None
    table.release(first.lease, keep=True)
    handed = table.hand_on()
    assert handed is not None
    assert (handed.ticket, handed.lease.slot) == (waiting, A)
    assert handed.lease.epoch > first.lease.epoch
    table.release(handed.lease, keep=True)
    _, again = table.request(User("o", "v"))
    assert again is not None
    assert table.hand_on() is None


def test_owners_who_wait_take_turns() -> None:
    """One asked for three slots before another asked for its first: it does not get all three before it."""
    table = SlotTable.of([A])
    table.ready(A)
    _, first = table.request(User("o", "t"))
    tickets = [table.request(User("o", f"t{number}"))[0] for number in range(3)]
    other, _ = table.request(User("p", "t"))
    assert first is not None
    lease, served = first.lease, []
    for _ in range(4):
        table.release(lease, keep=False)
        grant = table.ready(A)
        assert grant is not None
        served.append(grant.ticket)
        lease = grant.lease
    assert served == [tickets[0], other, tickets[1], tickets[2]]


def test_a_cold_slot_can_be_given_up_too() -> None:
    """It is not warmed after that."""
    table = SlotTable.of([A, B])
    table.cool(A)
    table.cool(B)
    table.quarantine(A)
    assert table.warm(2) == B
    assert table.warm(2) is None
