"""Links that go and come: what callers see of it, and what they are told when the link stays away."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from hermes_trio.errors import BrokenLinkError, NobodyThereError, Provenance, UnavailableError
from hermes_trio.executor.config import ExecutorConfig
from hermes_trio.executor.executor import Executor, open_executor
from hermes_trio.fleet.fleet import FleetConfig, _Pauses
from hermes_trio.slots.table import TrajectoryId
from hermes_trio.testing.fake_daemon import FakeDaemon
from hermes_trio.testing.memory_backend import MemoryBackend, open_memory_backend
from hermes_trio.tools.calls import ToolCall, ToolResult

GONE = NobodyThereError("nothing listens there.")
UNREACHABLE = UnavailableError("no route.")


def bash(command: str) -> ToolCall:
    """A call of the shell."""
    return ToolCall(name="bash", arguments={"command": command})


class World:
    """One executor on two daemons that keep sessions."""

    def __init__(self, executor: Executor, backend: MemoryBackend, daemons: dict[str, FakeDaemon]) -> None:
        self.executor = executor
        self.backend = backend
        self.daemons = daemons
        self.results: dict[str, ToolResult] = {}
        self.news = trio.Event()

    async def run(self, name: str, command: str) -> None:
        """A call whose result is kept."""
        self.results[name] = await self.executor.execute(name, bash(command))
        self.news.set()
        self.news = trio.Event()

    async def ended(self, name: str) -> None:
        """Wait for the result of this trajectory's call."""
        while name not in self.results:
            await self.news.wait()

    async def cut(self, name: str = "d") -> None:
        """Break the link of a daemon; messages on their way are lost."""
        await trio.lowlevel.checkpoint()
        self.daemons[name].links[0].break_link()  # type: ignore[attr-defined]

    def home(self, trajectory: str) -> str:
        """The daemon that the trajectory was sent to."""
        connection = self.executor._pool._holders[TrajectoryId(trajectory)].connection
        assert connection is not None
        return connection.name

    def ran(self, name: str = "d") -> list[str]:
        """Every command that a daemon has started."""
        return [command for slot in self.daemons[name].slots.values() for command in slot.ran]


@asynccontextmanager
async def world(*names: str, config: ExecutorConfig | None = None, slots: int = 2) -> AsyncIterator[World]:
    """Daemons by name, and an executor on them."""
    daemons = {name: FakeDaemon(slots=slots) for name in names or ("d",)}
    async with (
        open_memory_backend(daemons) as backend,
        open_executor(backend, config=config) as executor,
    ):
        yield World(executor, backend, daemons)


async def test_a_call_outlives_its_link(autojump_clock: trio.testing.MockClock) -> None:
    """It runs once, and its result arrives over another link; only the statistics tell."""
    async with world() as here:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.run, "t", "echo kept && sleep 5")
            await trio.sleep(1)
            await here.cut()
        assert (here.results["t"].output, here.ran()) == ("kept", ["echo kept && sleep 5"])
        assert trio.current_time() == pytest.approx(5, abs=0.1)
        statistics = here.executor.statistics()
        assert (statistics.reconnects, statistics.sessions_lost) == (1, 0)
        assert (statistics.slots.leased, statistics.slots.closed) == (1, 0)


async def test_what_is_asked_while_there_is_no_link_waits(autojump_clock: trio.testing.MockClock) -> None:
    """The trajectory's own slot, and one that has none yet."""
    async with world() as here:
        await here.run("old", "echo mine >> f")
        here.daemons["d"].absent = UNREACHABLE
        await here.cut()
        await trio.sleep(0.1)
        assert here.executor.statistics().slots.closed == 1
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.run, "old", "cat f")
            nursery.start_soon(here.run, "new", "true")
            await trio.sleep(3)
            here.daemons["d"].absent = None
        assert here.results["old"].output == "mine"
        assert here.results["new"].success
        assert trio.current_time() < 8


async def test_others_take_what_waits_while_a_daemon_has_no_link(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Nobody new is sent to a daemon that cannot hear."""
    async with world("d", "e") as here:
        here.daemons["d"].absent = UNREACHABLE
        await here.cut("d")
        await trio.sleep(0.1)
        began = trio.current_time()
        for name in ("t", "u"):
            await here.run(name, "true")
        assert trio.current_time() == began
        assert len(here.ran("e")) == 2


@pytest.mark.parametrize(
    ("absent", "within_s"), [(UNREACHABLE, 10.0), (GONE, 1.5)], ids=["unreachable", "nobody-listens"]
)
async def test_a_session_without_a_link_is_given_up(
    autojump_clock: trio.testing.MockClock, absent: UnavailableError, within_s: float
) -> None:
    """What may have run is unknown, what never left is not started; neither is sent again."""
    async with world() as here:
        await here.run("t", "true")
        async with trio.open_nursery() as nursery:
            here.results.clear()
            nursery.start_soon(here.run, "t", "sleep 1000")
            await trio.sleep(1)
            here.daemons["d"].absent = absent
            await here.cut()
            await trio.sleep(0.2)
            nursery.start_soon(here.run, "u", "true")
            began = trio.current_time()
            await here.ended("t")
            assert trio.current_time() - began == pytest.approx(within_s, abs=0.5)
            assert "u" not in here.results  # it holds nothing there, so it has lost nothing
            here.daemons["d"].absent = None
        lost = here.results["t"]
        assert (lost.provenance, lost.metadata["outcome"]) == (Provenance.LINK_LOST, "unknown")
        assert here.results["u"].success
        assert here.executor.statistics().sessions_lost == 1
        again = await here.executor.execute("t", bash("true"))
        assert (again.provenance, here.ran().count("sleep 1000")) == (Provenance.SANDBOX_LOST, 1)


async def test_what_never_left_is_told_so(autojump_clock: trio.testing.MockClock) -> None:
    """A call behind a lost link has no id yet: it certainly did not run."""
    async with world() as here:
        await here.run("t", "true")
        here.daemons["d"].absent = GONE
        await here.cut()
        await trio.sleep(0.1)
        result = await here.executor.execute("t", bash("echo never"))
        assert (result.provenance, result.metadata["outcome"]) == (Provenance.LINK_LOST, "not_started")
        assert "echo never" not in here.ran()


async def test_a_call_that_was_packed_and_not_handed_over_did_not_start(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls of 1.1 MB, a message each: one is on its way, one is being sent, and the next is packed."""
    names = [f"t{number}" for number in range(14)]
    async with world(slots=14) as here:
        for name in names:
            await here.run(name, "true")
        monkeypatch.setattr(here.daemons["d"].links[0], "receive_message", trio.sleep_forever)
        async with trio.open_nursery() as nursery:
            for name in names:
                nursery.start_soon(here.run, name, "true " + "x" * 1_100_000)
            await trio.sleep(1)
            here.daemons["d"].absent = GONE
            await here.cut()
        told = Counter(result.metadata.get("outcome", "ran") for result in here.results.values())
        assert set(told) == {"ran", "unknown", "not_started"}
        assert told["unknown"] == 2


async def test_a_daemon_that_was_started_again_has_lost_its_calls(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A new epoch: typed, never a second time; and the daemon serves on."""
    async with world() as here:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.run, "t", "sleep 50")
            await trio.sleep(1)
            here.daemons["d"].kill()
        lost = here.results["t"]
        assert (lost.provenance, lost.metadata["outcome"]) == (Provenance.SANDBOX_LOST, "unknown")
        assert "started again (epoch 1, now 2)" in lost.error
        assert here.ran() == ["sleep 50"]
        await here.executor.release("t")
        assert (await here.executor.execute("t", bash("true"))).success
        assert here.executor.statistics().sessions_lost == 1


async def test_an_executor_that_was_away_too_long_is_told_that_its_leases_ended(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Same epoch, other beginning: somebody else may have had the slot since."""
    config = ExecutorConfig(resume_within_s=100)
    async with world(config=config) as here:
        here.daemons["d"].lease_grace_s = 2
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.run, "t", "sleep 50")
            await trio.sleep(1)
            here.daemons["d"].absent = UNREACHABLE
            await here.cut()
            await trio.sleep(3)
            assert here.daemons["d"].free == 2
            here.daemons["d"].absent = None
        assert here.results["t"].provenance is Provenance.SANDBOX_LOST
        assert "silent for too long" in here.results["t"].error


async def test_a_daemon_that_the_backend_withdraws_is_gone_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The engine knows better than any patience of ours."""
    async with world() as here:
        await here.run("t", "true")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.run, "t", "sleep 50")
            await trio.sleep(1)
            here.backend.board.withdraw("d")
            await trio.testing.wait_all_tasks_blocked()
            assert here.results["t"].provenance is Provenance.SANDBOX_LOST


async def test_one_missed_heartbeat_stops_issuing_and_nothing_is_issued_twice(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is asked during the silence goes out when it ends; it had not been handed to the link."""
    config = ExecutorConfig(heartbeat_s=1, dead_after_s=20)
    async with world(config=config) as here:
        await here.run("t", "true")
        link = here.daemons["d"].links[0]
        quiet = trio.Event()
        receive = link.receive_message

        async def stalled() -> bytes:
            await quiet.wait()
            return await receive()

        monkeypatch.setattr(link, "receive_message", stalled)
        await trio.sleep(5)
        assert here.executor.statistics().slots.closed == 1
        before = here.executor.statistics().links["d"].postings_sent
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.run, "t", "echo late")
            await trio.sleep(2)
            assert here.executor.statistics().links["d"].postings_sent == before
            quiet.set()
        assert (here.results["t"].output, here.ran().count("echo late")) == ("late", 1)
        assert here.executor.statistics().slots.closed == 0


async def test_a_drain_moves_those_who_wait_to_other_daemons(autojump_clock: trio.testing.MockClock) -> None:
    """Those who have a slot there finish there; nobody new comes."""
    async with world("d", "e", slots=1) as here:
        await here.run("t", "true")
        await here.run("u", "true")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.run, "t", "sleep 2")
            nursery.start_soon(here.run, "w", "true")
            await trio.sleep(1)
            here.daemons[here.home("t")].drain(5)
            await trio.testing.wait_all_tasks_blocked()
            assert here.executor.statistics().slots.closed == 1
            other = here.home("u")
            await here.executor.release("u")
        assert here.results["t"].success
        assert here.results["w"].success
        assert len(here.ran(other)) == 2


async def test_a_slot_that_was_asked_for_as_the_drain_began_is_asked_for_elsewhere(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The daemon turns it away; the trajectory has lost nothing but a moment."""
    async with world("d", "e", slots=1) as here:
        here.daemons["d"]._free.clear()  # somebody else's executor holds it
        async with trio.open_nursery() as nursery:
            for name in ("t", "u"):
                nursery.start_soon(here.run, name, "true")
            await trio.sleep(1)
            [done] = here.results
            here.daemons["d"].drain(5)
            await trio.sleep(1)
            await here.executor.release(done)
        assert sorted(result.success for result in here.results.values()) == [True, True]


async def test_a_condemned_slot_comes_back_when_the_daemon_has_wiped_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A cancel that found no link costs the trajectory its slot, not the daemon its place."""
    config = ExecutorConfig(kill_grace_s=2, resume_within_s=60)
    async with world(config=config, slots=1) as here:
        here.daemons["d"].lease_grace_s = 100
        await here.run("t", "true")
        with trio.move_on_after(10) as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(here.run, "t", "sleep 50")
                await trio.sleep(1)
                here.daemons["d"].absent = UNREACHABLE
                await here.cut()
                nursery.cancel_scope.cancel()
        assert not scope.cancelled_caught
        assert here.executor.statistics().slots.total == 0
        here.daemons["d"].absent = None
        assert (await here.executor.execute("u", bash("true"))).success
        assert (await here.executor.execute("t", bash("true"))).provenance is Provenance.SANDBOX_LOST


async def test_breaches_of_the_protocol_end_a_session_only_when_they_go_on(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """One may be the link's doing; five in a row are not."""
    async with world() as here:
        await here.run("t", "true")
        connection = here.executor._fleet.connections[0]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.run, "t", "sleep 30")
            for _ in range(7):
                await trio.sleep(2)
                for link in here.daemons["d"].links:
                    try:
                        await link.send_message(b"\xff" * 64)
                    except (BrokenLinkError, trio.BusyResourceError):
                        await trio.lowlevel.checkpoint()
        assert here.results["t"].provenance is Provenance.LINK_LOST
        assert "breaks the protocol" in here.results["t"].error
        assert repr(connection) == "<DaemonConnection d over, 0 calls sent, 0 queued>"


def test_pauses_double_and_are_cut_by_chance() -> None:
    """A link that has lasted starts them over; one that ends at once does not."""
    pauses = _Pauses(FleetConfig(first_retry_s=1, max_retry_s=4, chance=lambda: 0.0))
    assert [pauses.after(0) for _ in range(4)] == [0.5, 1, 2, 2]
    assert [pauses.after(lasted_s) for lasted_s in (5, 1)] == [0.5, 1]
    assert pauses.after(0, was_of_use=True) == 0.5
    late = _Pauses(FleetConfig(first_retry_s=1, chance=lambda: 1.0))
    assert late.after(0) == 1
