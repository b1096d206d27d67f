"""The slot's lock: many at once, or one alone, and nobody passed by."""

from __future__ import annotations

import trio
import trio.testing

from sandbox_daemon.slots.sharing import SharedLock


async def _hold(lock: SharedLock, log: list[str], name: str, *, shared: bool, for_s: float = 1.0) -> None:
    await lock.acquire(shared=shared)
    log.append(f"+{name}")
    await trio.sleep(for_s)
    log.append(f"-{name}")
    lock.release()


async def _enter(nursery: trio.Nursery, *arguments: object, **more: object) -> None:
    """One after another: tasks started in one tick run in no particular order."""
    nursery.start_soon(lambda: _hold(*arguments, **more))  # type: ignore[arg-type]
    await trio.testing.wait_all_tasks_blocked()


async def test_those_who_share_hold_it_together(autojump_clock: trio.testing.MockClock) -> None:
    """And one who wants it alone comes when all of them have left."""
    lock, log = SharedLock(), []
    async with trio.open_nursery() as nursery:
        await _enter(nursery, lock, log, "a", shared=True)
        await _enter(nursery, lock, log, "b", shared=True, for_s=2.0)
        await _enter(nursery, lock, log, "c", shared=False)
        assert repr(lock) == "<SharedLock held by 2, 1 waiting>"
    assert log == ["+a", "+b", "-a", "-b", "+c", "-c"]
    assert repr(lock) == "<SharedLock held by 0, 0 waiting>"


async def test_who_could_not_share_when_he_came_can_when_his_turn_comes(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The first one alone makes it fit, and lets in all who wanted to share it."""
    lock, log, fits = SharedLock(), list[str](), False

    async def mend(name: str) -> None:
        nonlocal fits
        await lock.acquire(shared=lambda: fits)
        log.append(f"+{name}{' alone' if lock.held_alone else ''}")
        await trio.sleep(1)
        if lock.held_alone:
            fits = True
            lock.share()
        await trio.sleep(1)
        lock.release()

    async with trio.open_nursery() as nursery:
        for name in "abc":
            nursery.start_soon(mend, name)
            await trio.testing.wait_all_tasks_blocked()
        await _enter(nursery, lock, log, "d", shared=False)
    assert [log[0], *sorted(log[1:3]), *log[3:]] == ["+a alone", "+b", "+c", "+d", "-d"]
    assert trio.current_time() == 4.0


async def test_nobody_passes_one_who_waits_alone(autojump_clock: trio.testing.MockClock) -> None:
    """However many would share with those who hold it."""
    lock, log = SharedLock(), []
    async with trio.open_nursery() as nursery:
        await _enter(nursery, lock, log, "a", shared=True)
        await _enter(nursery, lock, log, "b", shared=False)
        await _enter(nursery, lock, log, "c", shared=True)
        await _enter(nursery, lock, log, "d", shared=True)
    assert log[:3] == ["+a", "-a", "+b"]
    assert sorted(log[4:6]) == ["+c", "+d"]


async def test_one_who_gives_up_lets_those_behind_in(autojump_clock: trio.testing.MockClock) -> None:
    """They waited for nobody else."""
    lock, log = SharedLock(), []
    async with trio.open_nursery() as nursery:
        await _enter(nursery, lock, log, "a", shared=True, for_s=5.0)
        with trio.move_on_after(1):
            async with trio.open_nursery() as inner:
                inner.start_soon(lambda: _hold(lock, log, "b", shared=False))
                await trio.testing.wait_all_tasks_blocked()
                inner.start_soon(lambda: _waits_outside(nursery, lock, log))
        await trio.sleep(1)
        assert "+c" in log
        assert "-a" not in log
    assert repr(lock) == "<SharedLock held by 0, 0 waiting>"


async def _waits_outside(nursery: trio.Nursery, lock: SharedLock, log: list[str]) -> None:
    await _enter(nursery, lock, log, "c", shared=True)


async def test_a_cancel_in_the_tick_of_the_grant_gives_it_back() -> None:
    """It was ours for no time at all."""
    lock = SharedLock()
    await lock.acquire()
    scope = trio.CancelScope()

    async def wait() -> None:
        with scope:
            await lock.acquire()
            raise AssertionError

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        scope.cancel()
        lock.release()
    assert repr(lock) == "<SharedLock held by 0, 0 waiting>"
    async with lock:
        assert repr(lock) == "<SharedLock held alone, 0 waiting>"
