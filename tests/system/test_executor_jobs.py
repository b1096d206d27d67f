"""Background jobs through an executor: as a program drives them, and as a model does."""

# ruff: noqa: ASYNC110 - a test may look at processes and clocks as it likes

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

import hermes_trio as ht
from hermes_trio.errors import Provenance
from hermes_trio.executor.executor import Executor
from hermes_trio.testing.chaos_proxy import ProxiedBackend, open_chaos_proxy

pytestmark = [pytest.mark.bubblewrap, pytest.mark.slow]

SOON_S = 15.0
ALLOWED = ["--allow-background"]


@asynccontextmanager
async def open_allowed(**more: Any) -> AsyncIterator[Executor]:
    """An executor on one slot whose operator allows jobs."""
    async with (
        ht.open_local_backend(slots=1, daemon_options=ALLOWED) as backend,
        ht.open_executor(backend, config=ht.ExecutorConfig(allow_background=True), **more) as executor,
    ):
        yield executor


async def run(executor: Executor, name: str, **arguments: Any) -> ht.ToolResult:
    """One call of a trajectory's model."""
    with trio.fail_after(SOON_S):
        return await executor.execute("t", ht.ToolCall(name, arguments))


def sleepers(seconds: int) -> list[int]:
    """Processes of this machine that sleep for so long."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if entry.read_bytes() == f"sleep\0{seconds}\0".encode():
                found.append(int(entry.parent.name))
        except OSError:
            continue
    return found


def daemons() -> list[int]:
    """Those that this test has started."""
    lists = Path("/proc/self/task").glob("*/children")
    pids = [int(word) for path in lists for word in path.read_text().split()]
    return [pid for pid in pids if b"sandbox_daemon" in Path(f"/proc/{pid}/cmdline").read_bytes()]


async def test_a_program_of_ours_drives_jobs_across_a_lost_link() -> None:
    """Log from any offset, input, signal, wait; a job does not notice that the link is gone."""
    async with (
        ht.open_local_backend(slots=1, daemon_options=ALLOWED) as backend,
        open_chaos_proxy() as proxy,
        ht.open_executor(ProxiedBackend(backend, proxy)) as executor,
    ):
        job = await executor.start_job("t", "echo begun; while read x; do echo got $x; done; exit 4")
        assert repr(job) == "<Job 'job-1' of 't'>"
        with trio.fail_after(SOON_S):
            piece = await job.read_log()
        assert (piece.offset, piece.data, piece.lost_bytes) == (0, b"begun\n", 0)
        reports = []
        async with trio.open_nursery() as nursery:

            async def wait() -> None:
                reports.append(await job.wait())

            nursery.start_soon(wait)
            await trio.sleep(0.1)
            proxy.cut()
            await job.send("a\n")
            proxy.cut()
            await job.send(b"b\n", eof=True)
        assert (reports[0].running, reports[0].ending, reports[0].exit_code) == (False, "exited", 4)
        pieces = [piece async for piece in executor.job("t", "job-1").log(6)]
        assert b"".join(piece.data for piece in pieces) == b"got a\ngot b\n"
        again = await executor.start_job("t", "trap 'exit 5' INT; while :; do sleep 0.05; done", limit_s=60.0)
        await trio.sleep(0.2)
        await again.signal("INT")
        assert (await again.wait()).exit_code == 5
        last = await executor.start_job("t", "pwd; echo $A; sleep 1000", environment={"A": "b"})
        assert (await last.kill()).ending == "killed"
        assert (await last.kill()).signal == 9
        assert [each.job for each in await executor.jobs("t")] == ["job-1", "job-2", "job-3"]
        with pytest.raises(ht.UnavailableError, match="no job 'job-9'"):
            await executor.job("t", "job-9").status()
        with pytest.raises(ht.InvalidInputError, match="field 'signal'"):
            await last.signal("9")
        with pytest.raises(ht.UnavailableError, match="No active slot"):
            await executor.jobs("nobody")


async def test_a_cancel_while_waiting_leaves_the_job_alone() -> None:
    """Who waits leaves at once; the job goes on, and another wait finds its end."""
    async with open_allowed() as executor:
        job = await executor.start_job("t", "read x; exit 6")
        for wait in (job.wait, lambda: job.read_log(1 << 30)):
            with trio.move_on_after(0.2) as left, trio.fail_after(SOON_S):
                await wait()
            assert left.cancelled_caught
        assert (await job.status()).running is True
        assert executor.statistics().in_flight == 0
        await job.send("", eof=True)
        with trio.fail_after(SOON_S):
            assert (await job.wait()).exit_code == 6


@pytest.mark.cgroups
async def test_a_model_runs_a_command_in_the_background() -> None:
    """Bash with background, then the tool job: list, logs, stdin, signal, wait."""
    async with open_allowed() as executor:
        assert "background" in executor.registry.get("bash").parameters
        assert "job" in executor.registry
        assert (await run(executor, "job", action="list")).output == "There are no jobs"
        command = "echo out; echo err >&2; read line; echo got $line; read line; exit 3"
        began = await run(executor, "bash", command=command, background=True)
        assert began.success
        assert began.output.startswith("job-1 runs since ")
        assert (began.metadata["job"], began.metadata["running"]) == ("job-1", True)
        assert began.metadata["sandboxed"] is True
        assert (await run(executor, "bash", command="echo beside")).output == "beside"
        await run(executor, "job", action="logs", job="job-1", timeout=10)
        first = await run(executor, "job", action="logs", job="job-1", offset=0)
        assert first.output.startswith("out\nerr\n[job-1 runs since ")
        typed = await run(executor, "job", action="stdin", job="job-1", input="a line\n")
        assert typed.output.endswith("and has taken 7 bytes")
        waited = await run(executor, "job", action="wait", job="job-1", timeout=0.1)
        assert waited.metadata["running"] is True
        logs = await run(executor, "job", action="logs", job="job-1", timeout=10)
        assert logs.output.startswith("got a line\n[job-1 runs")
        assert (await run(executor, "job", action="stdin", job="job-1", eof=True)).success
        over = await run(executor, "job", action="wait", job="job-1")
        assert (over.success, over.metadata["exit_code"]) == (True, 3)
        assert over.output.endswith("exit code 3")
        listed = await run(executor, "job", action="list")
        assert listed.output.endswith("exit code 3: " + command[:60] + "...")
        late = await run(executor, "job", action="signal", job="job-1")
        assert (late.success, late.provenance) == (False, Provenance.TOOL_ERROR)
        assert (await run(executor, "job", action="logs")).provenance is Provenance.INVALID_REQUEST
        limited = await run(executor, "terminal", command="sleep 1000", background=True, timeout=1)
        ended = await run(executor, "job", action="wait", job=limited.metadata["job"])
        assert ended.output.endswith("its limit passed")


async def test_the_default_is_the_ancestors_refusal() -> None:
    """Neither the executor nor the daemon runs what was not allowed on both sides."""
    async with (
        ht.open_local_backend(slots=1) as backend,
        ht.open_executor(backend) as executor,
        ht.open_executor(backend, config=ht.ExecutorConfig(allow_background=True)) as allowing,
    ):
        assert "background" not in executor.registry.get("bash").parameters
        assert "job" not in executor.registry
        for tool in ("bash", "terminal"):
            refused = await run(executor, tool, command="sleep 1000", background=True)
            assert refused.provenance is Provenance.DENIED
            assert refused.error == "terminal background execution is not supported in sandbox"
        refused = await run(allowing, "bash", command="sleep 1000", background=True)
        assert refused.provenance is Provenance.DENIED
        assert "--allow-background" in refused.error
        await allowing.release("t")
        with pytest.raises(ht.UnavailableError, match="--allow-background"):
            await executor.start_job("t", "sleep 1000")


async def test_quiesce_counts_the_jobs_it_ends_and_lets_no_new_ones_begin() -> None:
    """A verifier hears of what it was protected from."""
    async with open_allowed() as executor:
        await run(executor, "bash", command="sleep 54321", background=True)
        job = await executor.start_job("t", "setsid sleep 54321 & sleep 54321")
        quiet = await executor.quiesce("t")
        assert quiet.jobs_killed == 2
        assert sleepers(54321) == []
        refused = await run(executor, "bash", command="true", background=True)
        assert refused.provenance is Provenance.DENIED
        with pytest.raises(ht.UnavailableError, match="quiet"):
            await executor.start_job("t", "true")
        report = await job.status()
        assert (report.ending, report.reason) == ("slot_ended", "the slot was quiesced")
        quiet.reopen()
        assert (await executor.quiesce("t")).jobs_killed == 0


async def test_the_end_of_the_lease_and_of_the_daemon_end_jobs() -> None:
    """Release, an executor that leaves, a daemon that is killed: nothing is left, and who waits is told."""
    async with ht.open_local_backend(slots=1, daemon_options=ALLOWED) as backend:
        async with ht.open_executor(backend) as executor:
            await executor.start_job("t", "setsid sleep 54322 & sleep 54322")
            await executor.release("t")
            assert sleepers(54322) == []
            await executor.start_job("t", "setsid sleep 54322 & sleep 54322")
        assert sleepers(54322) == []
        async with ht.open_executor(backend) as executor:
            job = await executor.start_job("t", "setsid sleep 54322 & sleep 54322")
            with trio.fail_after(SOON_S):
                while len(sleepers(54322)) < 2:
                    await trio.sleep(0.02)
            (daemon,) = daemons()
            async with trio.open_nursery() as nursery:

                async def wait() -> None:
                    with pytest.raises(ht.LostError):
                        await job.wait()

                nursery.start_soon(wait)
                await trio.sleep(0.1)
                os.kill(daemon, signal.SIGKILL)
            with trio.fail_after(SOON_S):
                while sleepers(54322):
                    await trio.sleep(0.02)
