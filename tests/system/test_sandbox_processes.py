"""Processes that do not want to end, and the proof that they did. Items 12 to 22 of the checklist."""

# ruff: noqa: ASYNC110 - a test may look at files, processes and clocks as it likes

from __future__ import annotations

import math
import os
import random
import signal
import subprocess

import pytest
import trio

from hermes_trio.errors import Provenance
from hermes_trio.wire.frames import Lease
from hermes_trio.wire.operations import BashArguments

pytestmark = [pytest.mark.bubblewrap, pytest.mark.slow, pytest.mark.hostile]

FOR_EVER_S = 30.0
"""Nothing that is tested takes so long, on however busy a machine; what waits for a sleeper takes longer."""
LADDER_MS = 250 + 500 + 2000
"""The rungs of the kill ladder together: what outlives them is a leak."""

ESCAPES = {
    "background": "sleep 1000 &",
    "setsid": "setsid sleep 1000 &",
    "double fork": "(setsid sh -c 'sleep 1000 & sleep 1000 &' &) &",
    "nohup, closed": "nohup setsid sleep 1000 </dev/null >/dev/null 2>&1 &",
    "stopped": "setsid sh -c 'kill -STOP $$' &",
    "trapping": "setsid bash -c \"trap '' TERM INT HUP QUIT; while :; do sleep 1; done\" &",
    "300 sessions": "for i in $(seq 300); do setsid sleep 1000 & done",
    "hopper": "setsid bash -c 'f() { sleep 0.01; f & }; f' &",
}


@pytest.mark.parametrize("escape", ESCAPES.values(), ids=ESCAPES.keys())
async def test_what_outlives_a_command_is_gone_before_its_result(slots, escape: str) -> None:
    """A normal exit sweeps too, and a child that holds the pipe open delays nothing."""
    with trio.fail_after(FOR_EVER_S):
        outcome = await slots.bash(f"{escape} echo hi" if escape.endswith("&") else f"{escape}; echo hi")
    assert (outcome.payload, outcome.data["exit_code"]) == (b"hi\n", 0)
    assert slots.strays() == {}


async def test_a_child_that_holds_the_pipe_is_told_of(slots) -> None:
    """``pipe_still_held`` says that output might have gone on; a silent child does not set it."""
    assert (await slots.bash("setsid sleep 1000 & echo hi")).data["pipe_still_held"] is True
    assert (await slots.bash("exec 3>&1; setsid sleep 1000 >/dev/null 2>&1 3>&- & sleep 0.2")).data[
        "pipe_still_held"
    ] is False
    assert (await slots.bash("echo hi")).data["pipe_still_held"] is False


@pytest.mark.parametrize("escape", ESCAPES.values(), ids=ESCAPES.keys())
async def test_a_limit_ends_the_whole_tree(slots, escape: str) -> None:
    """The soft signal reaches the group only; the sweep reaches everybody."""
    command = f"{escape} sleep 1000" if escape.endswith("&") else f"{escape}; sleep 1000"
    outcome = await slots.bash(command, limit_s=0.3)
    assert outcome.provenance is Provenance.LIMIT_EXCEEDED
    assert (outcome.data["exit_code"], outcome.data["ending"]) == (-1, "limit")
    assert outcome.data["kill_ms"] < LADDER_MS
    assert slots.strays() == {}


async def test_a_command_that_traps_everything_ends_soon_after_its_limit(slots) -> None:
    """What it had printed is kept."""
    command = "trap '' TERM INT HUP; echo early; while :; do sleep 0.05; done"
    outcome = await slots.bash(command, limit_s=1.0)
    assert outcome.data["duration_s"] >= 0.9  # its clock starts a moment later
    assert 250 <= outcome.data["kill_ms"] < LADDER_MS
    assert outcome.payload == b"early\n"
    assert outcome.error == "Command timed out after 1.0s"


async def test_a_command_that_obeys_the_soft_signal_may_clean_up(slots) -> None:
    """It has a quarter of a second; the result is that of the limit all the same."""
    outcome = await slots.bash("trap 'echo cleaned; exit 0' TERM; sleep 1000 & wait", limit_s=0.3)
    assert outcome.payload == b"cleaned\n"
    assert (outcome.data["ending"], outcome.data["exit_code"]) == ("limit", -1)


@pytest.mark.parametrize("command", ["kill -STOP $$", "sh -c 'kill -STOP $$' & kill -STOP $$"])
async def test_a_stopped_tree_is_killed(slots, command: str) -> None:
    """SIGTERM alone would wait for SIGCONT for ever."""
    outcome = await slots.bash(command, limit_s=0.2)
    assert outcome.data["ending"] == "limit"
    assert outcome.data["kill_ms"] < LADDER_MS
    assert slots.strays() == {}


async def test_a_stopped_command_may_clean_up_all_the_same(slots) -> None:
    """It is woken for the soft signal: otherwise it would sleep through its grace."""
    outcome = await slots.bash("trap 'echo cleaned; exit 0' TERM; kill -STOP $$; sleep 1000", limit_s=0.3)
    assert outcome.payload == b"cleaned\n"


@pytest.mark.alone
async def test_a_cancel_kills_300_sessions_at_once(slots) -> None:
    """No grace for a cancel. How long it takes: benchmarks/scenario/kill.py."""
    before = slots.agent_pid()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(
            slots.bash, "for i in $(seq 300); do setsid sleep 1000 & done; echo > up; sleep 1000"
        )
        with trio.fail_after(FOR_EVER_S):
            while not (slots.workspace / "up").exists():
                await trio.sleep(0.01)
        assert len(slots.strays()) >= 300
        nursery.cancel_scope.cancel()
    assert slots.strays() == {}
    assert slots.agent_pid() == before  # the first rung was enough


async def test_a_fork_bomb_stays_in_its_slot(slots) -> None:
    """The processes of a slot are counted for it alone: the host forks meanwhile."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(slots.bash, ":(){ :|:& };:; sleep 1000")
        with trio.fail_after(FOR_EVER_S):
            while len(slots.strays()) < 256:
                await trio.sleep(0.01)
        for _ in range(20):
            await trio.run_process(["/bin/true"], stdout=subprocess.DEVNULL)
        assert len(slots.strays()) <= 512
        nursery.cancel_scope.cancel()
    assert slots.strays() == {}


async def test_cancels_at_random_moments_leave_nobody(slots) -> None:
    """Wherever it strikes: before the start, during it, at the exit, in the sweep."""
    dice = random.Random(5)
    ended = 0
    for _ in range(150):
        with trio.move_on_after(dice.expovariate(1 / 0.015)):
            await slots.bash("sleep 1000 & setsid sleep 1000 & sleep 0.003")
            ended += 1
    assert 0 < ended < 150
    assert slots.strays() == {}


async def test_long_commands_are_not_cut_at_ten_seconds(slots) -> None:
    """As they are by a parent-death signal that is bound to a thread of Trio's cache."""

    async def sleep(lease: Lease, duration_s: int) -> None:
        command = BashArguments(command=f"sleep {duration_s}; echo done")
        outcome = await slots.pool.bash(lease, command, limit_s=60.0)
        assert (outcome.payload, outcome.data["exit_code"]) == (b"done\n", 0)

    await slots.pool.release(slots.neighbour)  # nobody watches: what an idle thread does is the question
    watched, slots.neighbour = slots.neighbour, await slots.pool.acquire(owner="t", trajectory_id="n")
    assert watched != slots.neighbour
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sleep, slots.lease, 25)
        nursery.start_soon(sleep, slots.neighbour, 11)


async def test_a_signal_is_told_from_an_exit(slots) -> None:
    """128 and the number, as a shell says it; the signal beside it."""
    outcome = await slots.bash("kill -SEGV $$")
    assert (outcome.data["exit_code"], outcome.data["signal"]) == (139, signal.SIGSEGV)
    assert (outcome.data["ending"], outcome.error) == ("signalled", "Exit code: 139")
    outcome = await slots.bash("exit 139")
    assert (outcome.data["exit_code"], outcome.data["signal"], outcome.data["ending"]) == (
        139,
        None,
        "exited",
    )


async def test_closed_output_is_no_end(slots) -> None:
    """The process counts, not its pipes."""
    outcome = await slots.bash("exec 1>&- 2>&-; sleep 1")
    assert outcome.data["exit_code"] == 0
    assert outcome.data["duration_s"] >= 0.9  # its clock starts a moment later


async def test_calls_of_one_slot_run_one_after_another(slots) -> None:
    """Also when they are asked for at once."""
    async with trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(slots.bash, f"echo in-{number} >> log; sleep 0.02; echo out-{number} >> log")
    lines = (await slots.read("log")).payload.decode().split()
    pairs = list(zip(lines[::2], lines[1::2], strict=True))
    assert [a.split("-")[1] for a, _ in pairs] == [b.split("-")[1] for _, b in pairs]


async def test_standard_input_is_the_calls_or_nothing(slots) -> None:
    """Never the daemon's, and its end is seen."""
    assert (await slots.bash("cat; read line; echo $?")).payload == b"1\n"
    assert (await slots.bash("cat; echo end", stdin=b"given\n")).payload == b"given\nend\n"
    big = os.urandom(300_000)
    assert (await slots.bash("sha256sum | cut -c1-64", stdin=big)).payload.strip() == _sha256(big)


def _sha256(data: bytes) -> bytes:
    import hashlib

    return hashlib.sha256(data).hexdigest().encode()


async def test_shell_directory_and_environment_are_the_calls(slots) -> None:
    """``bash`` unless ``sh`` is asked for; additions do not stay."""
    assert await slots.text("echo ${BASH_VERSION:+bash}; [[ a == a ]] && echo yes") == "bash\nyes\n"
    assert await slots.text("echo ${BASH_VERSION:-none}", shell="sh") == "none\n"
    await slots.bash("mkdir -p deep/er")
    assert await slots.text("pwd", cwd="deep/er") == "/workspace/deep/er\n"
    assert await slots.text('pwd; echo "$ADDED"', environment={"ADDED": "a b\nc"}) == "/workspace\na b\nc\n"
    assert await slots.text("echo ${ADDED:-gone}") == "gone\n"


@pytest.mark.parametrize(
    ("arguments", "provenance"),
    [
        ({"cwd": "nowhere"}, Provenance.INVALID_REQUEST),
        ({"cwd": "../.."}, Provenance.DENIED),
        ({"cwd": "/etc"}, Provenance.DENIED),
        ({"cwd": ""}, Provenance.INVALID_REQUEST),
        ({"shell": "zsh"}, Provenance.INVALID_REQUEST),
        ({"environment": {"A=B": "c"}}, Provenance.INVALID_REQUEST),
        ({"environment": {"A": "c" * 40_000}}, Provenance.INVALID_REQUEST),
        ({"max_output_bytes": -1}, Provenance.INVALID_REQUEST),
    ],
)
async def test_bad_arguments_run_nothing(slots, arguments: dict[str, object], provenance: Provenance) -> None:
    """They are named, and the slot stays as it was."""
    outcome = await slots.bash("touch ran", **arguments)
    assert outcome.provenance is provenance
    assert outcome.error
    assert not (slots.workspace / "ran").exists()


@pytest.mark.parametrize("size", [100_000, 110_000, 1_000_000])
async def test_commands_may_be_longer_than_execve_takes(slots, size: int) -> None:
    """Above 100 KiB they are sourced from memory; ``$0`` and the exit status stay what they are."""
    command = "# " + "x" * size + '\necho "$0"; exit 7'
    outcome = await slots.bash(command)
    assert (outcome.payload, outcome.data["exit_code"]) == (b"/bin/bash\n", 7)
    outcome = await slots.bash("# " + "x" * size + "\ncat; exit 7", shell="sh", stdin=b"in")
    assert (outcome.payload, outcome.data["exit_code"]) == (b"in", 7)


async def test_a_command_above_one_mebibyte_or_with_a_nul_is_refused(slots) -> None:
    """Both by name."""
    assert "command" in (await slots.bash("#" * (1 << 20) + "#")).error
    assert "NUL" in (await slots.bash("echo \0")).error


async def test_usage_is_reported(slots) -> None:
    """CPU of all processes of the call; the peak of the largest."""
    data = (await slots.bash("python3 -c 'x = bytes(range(250)) * 400_000; sum(range(3_000_000))'")).data
    assert data["cpu_s"] > 0.02
    assert data["peak_memory_bytes"] > 80_000_000
    assert 0 < data["duration_s"] < math.inf


async def test_an_agent_that_hangs_is_replaced_and_the_workspace_stays(slots) -> None:
    """SIGSTOP from outside stands for anything that keeps it from answering."""
    before = slots.agent_pid()
    await slots.write("kept", b"yes")
    async with trio.open_nursery() as nursery:

        async def stop() -> None:
            await trio.sleep(0.1)
            os.kill(before, signal.SIGSTOP)

        nursery.start_soon(stop)
        outcome = await slots.bash("echo early; sleep 1000", limit_s=0.4)
    assert (outcome.data["ending"], outcome.payload) == ("limit", b"early\n")
    assert 700 < outcome.data["kill_ms"] < LADDER_MS
    assert await slots.text("cat kept") == "yes"
    assert slots.agent_pid() != before


async def test_an_agent_that_dies_takes_its_call_with_it_and_says_so(slots) -> None:
    """Infrastructure's fault, not the command's; the next call finds a fresh agent."""
    before = slots.agent_pid()
    async with trio.open_nursery() as nursery:

        async def kill() -> None:
            await trio.sleep(0.1)
            os.kill(before, signal.SIGKILL)

        nursery.start_soon(kill)
        outcome = await slots.bash("sleep 1000")
    assert outcome.provenance is Provenance.SANDBOX_LOST
    assert outcome.data["ending"] == "sandbox_lost"
    assert await slots.text("echo ok") == "ok\n"


async def test_an_idle_agent_that_dies_is_replaced_unseen(slots) -> None:
    """Nothing ran in it, so nothing was lost."""
    os.kill(slots.agent_pid(), signal.SIGKILL)
    with trio.fail_after(5):
        while slots.pool._cells[slots.lease.slot].link.lost is None:
            await trio.sleep(0.005)
    assert await slots.text("echo ok") == "ok\n"


async def test_required_sandbox_is_granted_where_there_is_one(slots) -> None:
    """Level ``none`` refuses it, see the tests of the levels."""
    outcome = await slots.pool.bash(slots.lease, BashArguments(command="true", require_sandbox=True))
    assert outcome.data["sandboxed"] is True


async def test_the_agent_runs_before_its_crowd_and_commands_as_everybody(slots) -> None:
    """Else it waits its turn among all whom it has to kill. Only root can give it, and nobody inherits it."""
    assert os.getpriority(os.PRIO_PROCESS, slots.agent_pid()) == (-10 if os.getuid() == 0 else 0)
    assert await slots.text("nice; nice -n -5 nice 2>/dev/null; setsid -w nice") == "0\n0\n0\n"
