"""The bus: nobody waits for a listener, and a listener knows what it lost."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from hermes_trio.telemetry.bus import EventBus, bus_of
from hermes_trio.telemetry.events import CallOnTheWire, CallRunning, Event, TurnBegan, TurnEnded


def calls(first: int, last: int) -> list[Event]:
    """One event for each number."""
    return [CallRunning(call=number) for number in range(first, last + 1)]


async def test_a_listener_hears_everything_from_its_first_moment(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """In order, numbered without a gap, with the moment of each."""
    bus = EventBus()
    bus.publish(CallRunning(call=0))
    async with bus.subscribe() as events:
        for event in calls(1, 2):
            bus.publish(event)
            await trio.sleep(1)
        first, second = await anext(events), await anext(events)
    assert [first.event, second.event] == calls(1, 2)
    assert second.sequence == first.sequence + 1
    assert second.at_s == first.at_s + 1


async def test_a_waiting_listener_is_woken() -> None:
    """And takes all that came at once."""
    bus = EventBus()
    async with bus.subscribe() as events, trio.open_nursery() as nursery:

        async def publish() -> None:
            await trio.lowlevel.checkpoint()
            for event in calls(1, 3):
                bus.publish(event)

        nursery.start_soon(publish)
        assert [each.event for each in await events.receive_some()] == calls(1, 3)


async def test_a_slow_listener_loses_its_oldest_events_and_slows_nobody() -> None:
    """The gap shows in the numbers and in the count."""
    bus = EventBus()
    async with bus.subscribe("slow", max_events=2) as slow, bus.subscribe("fast") as fast:
        for event in calls(1, 5):
            bus.publish(event)
        assert [each.event for each in fast.take_nowait()] == calls(1, 5)
        assert [each.sequence for each in slow.take_nowait()] == [4, 5]
        assert (slow.dropped, fast.dropped, bus.dropped) == (3, 0, 3)
        told = slow.statistics()
        assert (told.name, told.delivered, told.dropped, told.waiting) == ("slow", 2, 3, 0)
    assert bus.dropped == 3
    assert bus.statistics() == ()


async def test_a_listener_of_some_kinds_is_not_told_of_others() -> None:
    """What it does not want takes no room."""
    bus = EventBus()
    async with bus.subscribe(kinds=[CallOnTheWire], max_events=1) as events:
        bus.publish(CallOnTheWire(call=1))
        bus.publish(CallRunning(call=1))
        assert [each.event for each in events.take_nowait()] == [CallOnTheWire(call=1)]
        assert events.dropped == 0


async def test_nothing_is_made_when_nobody_listens() -> None:
    """Publishers ask first; numbers are given out only to listeners."""
    bus = EventBus()
    assert not bus.listening
    bus.publish(CallRunning(call=1))
    assert bus.sequence == 0
    async with bus.subscribe():
        assert bus.listening
    assert not bus.listening


async def test_what_began_and_has_not_ended_is_in_the_snapshot(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Also for those who came later; the caller's own knowledge comes after it."""
    bus = EventBus(wall_clock=lambda: 1000.0)
    began = TurnBegan(trajectory="t", run=1, turn=1)
    bus.begin("a", began)
    bus.begin("b", TurnBegan(trajectory="u", run=2, turn=1))
    bus.end("b", TurnEnded(trajectory="u", run=2, turn=1))
    began_at_s = trio.current_time()
    await trio.sleep(3)
    snapshot = bus.snapshot([(1.0, CallRunning(call=1))])
    assert [each.event for each in snapshot.events] == [began, CallRunning(call=1)]
    assert snapshot.events[0].at_s == began_at_s
    assert snapshot.at_s == began_at_s + 3
    assert snapshot.unix_time_s == 1000.0


async def test_events_after_a_snapshot_have_higher_numbers() -> None:
    """Nothing is told twice, nothing is missed."""
    bus = EventBus()
    async with bus.subscribe() as events:
        bus.publish(CallRunning(call=1))
        snapshot = bus.snapshot()
        bus.publish(CallRunning(call=2))
        later = [each for each in events.take_nowait() if each.sequence > snapshot.sequence]
        assert [each.event for each in later] == calls(2, 2)


async def test_a_cancelled_wait_takes_nothing() -> None:
    """The next one has it."""
    bus = EventBus()
    async with bus.subscribe() as events:
        with trio.move_on_after(0):
            await anext(events)
        bus.publish(CallRunning(call=1))
        assert (await anext(events)).event == CallRunning(call=1)


def test_an_executor_without_a_bus_is_given_a_deaf_one() -> None:
    """Any object with ``execute`` can be an executor."""
    bus = EventBus()

    class WithBus:
        def __init__(self) -> None:
            self.bus = bus

    assert bus_of(WithBus()) is bus
    assert not bus_of(object()).listening


def test_representations_fit_a_line() -> None:
    """Operators read them."""
    bus = EventBus()
    with bus.subscribed("one") as subscription:
        assert repr(bus) == "<EventBus 1 listeners, 0 events>"
        assert repr(subscription) == "<Subscription 'one', 0 waiting, 0 dropped>"


async def test_who_lingers_is_woken_once_for_what_comes_together(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The first event does not wait longer than it was told."""
    bus = EventBus()
    async with bus.subscribe() as events, trio.open_nursery() as nursery:

        async def tell() -> None:
            for number in range(3):
                bus.publish(CallRunning(call=number))
                await trio.sleep(0.02)

        nursery.start_soon(tell)
        began = trio.current_time()
        assert [each.event.call for each in await events.receive_some(linger_s=0.05)] == [0, 1, 2]  # type: ignore[union-attr]
        assert trio.current_time() - began == pytest.approx(0.05)
