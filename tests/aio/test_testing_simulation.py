"""Whole runs with accidents: every promise is kept, and the same seed is the same run."""

from __future__ import annotations

import random
from collections import Counter

import pytest
import trio
import trio.testing

from hermes_trio.errors import BrokenLinkError
from hermes_trio.testing.__main__ import main
from hermes_trio.testing.fake_daemon import FakeDaemon
from hermes_trio.testing.faulty_link import ROUGH, Faults, FaultyLink, split_frames
from hermes_trio.testing.links import open_memory_links
from hermes_trio.testing.simulation import Simulated, World, simulate
from hermes_trio.wire.codec import encode_frame
from hermes_trio.wire.frames import Heartbeat

pytestmark = pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")

SMALL = World(trajectories=80, calls=3, slots=8, faults=ROUGH, kills=2, impatience=0.15, arrive_within_s=20)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_every_promise_is_kept(seed: int) -> None:
    """Each call one ending, each effect once at most, no slot with two holders, every slot given back."""
    done = simulate(SMALL, seed=seed)
    assert done.violations == (), str(done)
    assert sum(done.endings().values()) + len(done.history.left) == 240
    slots = done.statistics.slots
    assert (slots.leased, slots.waiting, slots.lost) == (0, 0, 0)


@pytest.mark.slow
def test_all_kinds_of_accidents_are_met() -> None:
    """A simulation in which nothing happens shows nothing."""
    met: Counter[str] = Counter()
    for seed in range(4):
        met.update(simulate(World(trajectories=150, faults=ROUGH), seed=seed).faults)
    assert set(met) == {*ROUGH.chances, "stall"}


def test_the_same_seed_is_the_same_run() -> None:
    """Down to each ending and each lease: a failure can be looked at again."""

    def trace(done: Simulated) -> tuple[object, ...]:
        return done.history.endings, done.history.leases, done.faults, done.virtual_s

    first, again, other = (simulate(SMALL, seed=seed) for seed in (5, 5, 6))
    assert trace(first) == trace(again)
    assert trace(first) != trace(other)


def test_a_broken_promise_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon that hands out slots unwiped is caught by what its trajectories read."""
    monkeypatch.setattr("hermes_trio.testing.fake_shell.FakeSlot.wipe", lambda self: None)
    done = simulate(World(trajectories=40, daemons=1, slots=4), seed=1)
    assert any("found in its slot what" in line for line in done.violations)


def test_a_call_that_is_sent_again_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing would hide it: the ledgers tell."""
    run = FakeDaemon.run_call

    async def twice(self, peer, running):  # type: ignore[no-untyped-def]
        if running.call.operation == "bash":
            await run(self, peer, running)
        return await run(self, peer, running)

    monkeypatch.setattr(FakeDaemon, "run_call", twice)
    done = simulate(World(trajectories=5), seed=1)
    assert sum("ran 2 times" in line for line in done.violations) == 5


def test_the_program_tells_by_its_exit_code(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """0 when every promise was kept; 1, and the seed, when not."""
    assert main(["--trajectories", "20", "--seeds", "2", "--seed", "7"]) == 0
    assert [line.partition(":")[0] for line in capsys.readouterr().out.splitlines()] == ["seed 7", "seed 8"]
    monkeypatch.setattr("hermes_trio.testing.fake_shell.FakeSlot.wipe", lambda self: None)
    assert main(["--trajectories", "300", "--calm"]) == 1
    assert "found in its slot what" in capsys.readouterr().out


MESSAGE = b"".join(encode_frame(Heartbeat(nonce=nonce)) for nonce in range(6))


async def through(**fault: float) -> tuple[FaultyLink, list[bytes]]:
    """What arrives of three messages, over a link with this one fault."""
    near, far = open_memory_links(buffered_messages=10)
    link = FaultyLink(near, faults=Faults(**fault), dice=random.Random(1))
    got: list[bytes] = []
    try:
        for _ in range(3):
            await link.send_message(MESSAGE)
    except BrokenLinkError:
        await trio.lowlevel.checkpoint()
    with trio.move_on_after(1):
        try:
            while True:
                got.append(await far.receive_message())
        except BrokenLinkError:
            await trio.lowlevel.checkpoint()
    return link, got


@pytest.mark.parametrize(
    ("fault", "messages", "size"),
    [("cut", 0, 0), ("split", 6, 3), ("duplicate", 6, 6), ("half_close", 0, 0), ("reorder", 3, 3)],
)
async def test_a_fault_does_what_its_name_says(
    autojump_clock: trio.testing.MockClock, fault: str, messages: int, size: int
) -> None:
    """Counted in messages, and in the bytes of so many."""
    link, got = await through(**{fault: 1.0})
    assert (len(got), sum(map(len, got))) == (messages, size * len(MESSAGE))
    assert set(link.happened) == {fault}
    if fault == "reorder":
        assert got[0] != MESSAGE
        assert sorted(split_frames(got[0])) == sorted(split_frames(MESSAGE))


async def test_a_torn_message_arrives_in_part_and_breaks_the_link(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The piece is there; nothing follows."""
    _, [piece] = await through(tear=1.0)
    assert MESSAGE.startswith(piece)
    assert len(piece) < len(MESSAGE)


async def test_delays_and_stalls_take_time_and_lose_nothing(autojump_clock: trio.testing.MockClock) -> None:
    """Three messages, three stalls, or three delays."""
    _, got = await through(stall=1.0, stall_s=4)
    assert (got, trio.current_time()) == ([MESSAGE] * 3, 13)
    link, got = await through(delay=1.0, max_delay_s=4)
    assert got == [MESSAGE] * 3
    assert 14 < trio.current_time() < 26
    assert repr(link).startswith("<FaultyLink 0 faults around <MemoryLink")


async def test_what_is_received_outlives_a_cancel(autojump_clock: trio.testing.MockClock) -> None:
    """A delay that is cut short by a cancel loses no message."""
    near, far = open_memory_links()
    link = FaultyLink(near, faults=Faults(stall=1.0, stall_s=2), dice=random.Random(1))
    await far.send_message(b"kept")
    with trio.move_on_after(1) as scope:
        await link.receive_message()
    assert scope.cancelled_caught
    assert await link.receive_message() == b"kept"
    await link.aclose()
