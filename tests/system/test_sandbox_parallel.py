"""Calls of one slot side by side, each with its own end."""

from __future__ import annotations

import pytest
import trio

from hermes_trio.errors import Provenance

pytestmark = [pytest.mark.bubblewrap, pytest.mark.slow]


@pytest.fixture(autouse=True)
def _side_by_side(probe_isolation) -> None:
    if probe_isolation.mechanisms["calls side by side"] != "yes":
        pytest.skip("needs control groups: the calls of a slot cannot run side by side here")


async def test_calls_that_ask_for_it_run_at_the_same_time(slots) -> None:
    """Each end of the FIFO waits for the other: one after another they would never end."""
    await slots.bash("mkfifo f g")
    got: list[bytes] = []

    async def run(command: str) -> None:
        got.append((await slots.bash(command, parallel=True)).payload)

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, "read x < f; echo got $x; echo back > g")
            nursery.start_soon(run, "echo hi > f; read y < g; echo got $y")
    assert sorted(got) == [b"got back\n", b"got hi\n"]


async def test_a_call_that_does_not_ask_waits_for_them_and_they_for_it(slots) -> None:
    """In the order in which they came."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: slots.bash("sleep 0.3; echo 1 >> log", parallel=True))
        await trio.sleep(0.1)
        nursery.start_soon(lambda: slots.bash("echo 2 >> log; sleep 0.2; echo 3 >> log"))
        await trio.sleep(0.1)
        nursery.start_soon(lambda: slots.bash("echo 4 >> log", parallel=True))
    assert await slots.text("cat log") == "1\n2\n3\n4\n"


@pytest.mark.parametrize("end", ["exit", "limit", "cancel"])
async def test_the_end_of_one_leaves_the_others_alone(slots, end: str) -> None:
    """However it ends, and with everything that it had started."""
    kept: list[bytes] = []

    async def other() -> None:
        command = "setsid sleep 0.8 & wait; pgrep -c sleep; echo whole"
        kept.append((await slots.bash(command, parallel=True)).payload)

    hostile = "for i in 1 2 3; do setsid sleep 1000 & done; trap : TERM; "
    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        await trio.sleep(0.1)
        if end == "exit":
            outcome = await slots.bash(hostile + "exit 3", parallel=True)
            assert outcome.data["exit_code"] == 3
        elif end == "limit":
            outcome = await slots.bash(hostile + "sleep 1000", limit_s=0.2, parallel=True)
            assert outcome.provenance is Provenance.LIMIT_EXCEEDED
        else:
            with trio.move_on_after(0.2):
                await slots.bash(hostile + "sleep 1000", parallel=True)
    assert kept == [b"0\nwhole\n"]


async def test_a_lost_agent_ends_all_of_them_and_the_next_start_anew(slots) -> None:
    """Each is told, and of those that come together one starts the agent, and all go on side by side."""
    outcomes = []

    async def run(command: str) -> None:
        outcomes.append(await slots.bash(command, parallel=True))

    import os
    import signal

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(run, "sleep 1000")
        await trio.sleep(0.2)
        os.kill(slots.agent_pid(), signal.SIGKILL)
    assert [outcome.provenance for outcome in outcomes] == [Provenance.SANDBOX_LOST] * 3
    outcomes.clear()
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(
                run, "touch $$.here; until ls *.here | tail -n+3 | grep -q .; do :; done; echo again"
            )
    assert [outcome.payload for outcome in outcomes] == [b"again\n"] * 3


async def test_a_call_that_needs_the_network_does_not_take_the_agent_from_those_without(slots) -> None:
    """Each found the agent that it wants when it began to wait; only one of them can still have it."""
    ended: list[tuple[str, Provenance]] = []

    async def run(name: str, *, network: bool, parallel: bool = True) -> None:
        outcome = await slots.bash("sleep 0.4", parallel=parallel, allow_network=network)
        ended.append((name, outcome.provenance))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: run("alone", network=False, parallel=False))
        await trio.sleep(0.1)
        nursery.start_soon(lambda: run("changes it", network=True))
        await trio.sleep(0.1)
        nursery.start_soon(lambda: run("found it without", network=False))
        await trio.sleep(0.4)
        nursery.start_soon(lambda: run("found it with", network=True))
    assert {provenance for _, provenance in ended} == {Provenance.OK}, ended


async def test_nothing_runs_of_a_call_that_the_agent_has_no_descriptors_for(limited) -> None:
    """It holds one for each call with a group, under the limit that its commands have."""
    async with limited(max_open_files=32) as slots:
        outcomes: list[Provenance] = []

        async def run() -> None:
            outcomes.append((await slots.bash("sleep 0.7", parallel=True)).provenance)

        async with trio.open_nursery() as nursery:
            for _ in range(60):
                nursery.start_soon(run)
        assert set(outcomes) == {Provenance.OK, Provenance.UNAVAILABLE}
        assert slots.strays() == {}
        await slots.check()
