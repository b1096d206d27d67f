"""Every scenario, with real processes, as small as it can be. Nothing here asserts a time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import trio

from benchmarks.arms.base import ArmOptions, CallerSettings
from benchmarks.lib.children import CHECKOUT, child_environment, open_child
from benchmarks.lib.converter import from_line, to_line
from benchmarks.lib.drivers import open_drivers
from benchmarks.lib.load import Step
from benchmarks.lib.plan import TRUE, one_lane
from benchmarks.lib.processes import descendants, list_processes
from benchmarks.lib.protocol import CommandsOrder, Reply, ReplyKind
from benchmarks.lib.report import Report, check_report, read_report
from benchmarks.run import run_benchmark
from benchmarks.scenario.base import BenchOptions
from hermes_trio.errors import LostError, UnavailableError

pytestmark = [pytest.mark.slow, pytest.mark.bubblewrap]

SPAWN_ARMS = ("bwrap_spawn", "plain_spawn")
TOO_LONG_S = 60


def smoke(name: str, *arms: str, json_path: Path | None = None, plot_path: Path | None = None) -> Report:
    """A smoke run; its report is sound and without problems, and it leaves no process."""
    options = BenchOptions(smoke=True, arms=arms or None)
    report = run_benchmark(name, options, json_path=json_path, plot_path=plot_path)
    check_report(report)
    assert report.problems == ()
    assert not descendants(os.getpid(), list_processes())
    return report


@pytest.mark.parametrize("name", ["idle", "throughput", "batching", "stragglers", "files", "sandbox"])
def test_scenarios_measure_every_arm_at_every_point(name: str) -> None:
    """No arm is left out where bubblewrap works, and no call fails."""
    report = smoke(name)
    assert {"ours", "ancestor"} <= {each.contender.split(" ")[0] for each in report.measurements}
    assert report.remarks == ()
    assert None not in report.findings.values()


def test_two_servers_are_compared_over_http() -> None:
    """Each in processes of its own, by the same client."""
    report = smoke("http")
    assert {each.contender for each in report.measurements} == {"http_ours", "http_ancestor"}
    assert report.remarks == ()
    assert None not in report.findings.values()


def test_commands_of_people_leave_nothing_behind() -> None:
    """The built-in dozen has some that are destructive, endless, or detach themselves."""
    report = smoke("nl2bash")
    assert report.findings["calls_answered"] == report.details["commands"] == 12
    assert report.findings["survivors"] == 0
    assert {"ok", "tool_error", "limit_exceeded"} <= set(report.details["by_provenance"])
    assert report.details["memory"]["executor"]["calls"] == list(range(1, 13))
    assert report.findings["executor_drift_mib"] is not None


def test_loops_finish_with_every_client() -> None:
    """Each with all its turns; the figures mean nothing here."""
    report = smoke("loops")
    turns = {name: outcome["turns"] for name, outcome in report.details.items()}
    assert {name: count for name, count in turns.items() if not name.endswith("_thinking")} == dict.fromkeys(
        ("chat_client", "httpx", "httpx_unlimited", "memory"), 200
    )
    assert report.details["memory"]["memory_bytes"] > 0
    assert report.problems == ()


def test_memory_that_is_not_flat_is_a_problem(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No memory is flat enough for this bound; the picture is drawn all the same."""
    monkeypatch.setattr("benchmarks.lib.memory.MAX_DRIFT_MIB", -1000.0)
    report = run_benchmark("nl2bash", BenchOptions(smoke=True, rounds=2), plot_path=tmp_path / "r.svg")
    assert report.details["commands"] == 24
    assert report.problems[0].startswith("memory of the executor is not flat")
    assert ElementTree.parse(tmp_path / "r.svg").getroot().tag.endswith("svg")


async def test_the_runner_of_commands_ends_with_its_input(capfd: pytest.CaptureFixture[str]) -> None:
    """Also in the middle of a command, without a word, and takes its daemon along."""
    order = CommandsOrder(commands=("true", "sleep 3600"), rounds=1, slots=1, limit_s=600.0)
    with trio.fail_after(TOO_LONG_S):
        async with open_child("benchmarks.lib.commands") as child:
            await child.write_line(to_line(order))
            reply = from_line(await child.read_line(), Reply)
            assert (reply.kind, reply.done) == (ReplyKind.PROGRESS, 1)
    assert capfd.readouterr().err == ""
    assert not descendants(os.getpid(), list_processes())


async def test_the_runner_of_commands_says_why_it_cannot() -> None:
    """In the words of whoever refused, for the harness to repeat."""
    order = CommandsOrder(commands=("true",), rounds=1, slots=10_000_000, limit_s=1.0)
    with trio.fail_after(TOO_LONG_S):
        async with open_child("benchmarks.lib.commands") as child:
            await child.write_line(to_line(order))
            reply = from_line(await child.read_line(), Reply)
    assert reply.kind is ReplyKind.UNAVAILABLE
    assert "must be at most 4096" in reply.text


def test_workspaces_are_what_they_have_to_be(tmp_path: Path) -> None:
    """Children have their parent's files and nobody else's, and a reset leaves nothing."""
    report = smoke("workspaces", plot_path=tmp_path / "workspaces.svg")
    assert report.problems == ()
    assert report.findings["fork_8_ways_p50_ms"] > 0


def test_kills_leave_nobody(tmp_path: Path) -> None:
    """Crowds, cancels at any moment, a daemon that is killed: each call has one end, and nobody is left."""
    report = smoke("kill", plot_path=tmp_path / "kill.svg")
    assert report.findings["survivors"] == 0
    ends = report.findings["cancels_that_struck"], report.findings["commands_that_ended_first"]
    assert sum(ends) == report.details["cancels"]
    assert (tmp_path / "kill.svg").exists()


@pytest.mark.cgroups
def test_floods_are_counted_exactly() -> None:
    """And every figure is there."""
    report = smoke("floods")
    assert None not in report.findings.values()


def test_a_transfer_is_exact_beside_others() -> None:
    """And every figure is there."""
    report = smoke("transfer")
    assert report.problems == ()
    assert None not in report.findings.values()


@pytest.mark.parametrize("name", ["idle", "batching"])
def test_reports_and_pictures_are_written(name: str, tmp_path: Path) -> None:
    """The JSON is read back strictly; the pictures are what their names say."""
    arms = ("ancestor",) if name == "batching" else SPAWN_ARMS
    report = smoke(name, *arms, json_path=tmp_path / "r.json", plot_path=tmp_path / "r")
    assert read_report(tmp_path / "r.json") == report
    assert ElementTree.parse(tmp_path / "r.svg").getroot().tag.endswith("svg")
    assert (tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")


def test_an_arm_asked_for_by_name_is_not_left_out_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without bubblewrap the comparison would be another one than the one asked for."""
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    with pytest.raises(UnavailableError, match="bwrap_spawn cannot run here: bubblewrap is not installed"):
        run_benchmark("idle", BenchOptions(smoke=True, arms=SPAWN_ARMS))


def test_an_arm_that_cannot_run_is_left_out_with_a_remark(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the default arms were meant, the others are still measured."""
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))

    async def main() -> None:
        async with open_drivers(SPAWN_ARMS, ArmOptions(slots=1)) as opened:
            assert set(opened.drivers) == {"plain_spawn"}
            assert "bubblewrap" in opened.unavailable["bwrap_spawn"]

    trio.run(main)


@pytest.mark.parametrize("arm", ["ancestor", "plain_spawn"])
async def test_leaving_the_block_ends_a_load_under_way(arm: str) -> None:
    """Both event loops hear that their input has ended, and take their servers with them."""
    with trio.fail_after(TOO_LONG_S):
        async with open_drivers([arm], ArmOptions(slots=2)) as opened, trio.open_nursery() as nursery:
            load = one_lane(2, (TRUE,), duration_s=3600)
            nursery.start_soon(opened.drivers[arm].run, load, CallerSettings())
            await trio.sleep(0.3)  # some calls are under way then; nothing depends on which
            nursery.cancel_scope.cancel()
    assert not descendants(os.getpid(), list_processes())


@pytest.mark.parametrize("arm", ["ancestor", "http_per_call", "bwrap_spawn", "plain_spawn"])
async def test_failed_commands_and_limits_are_failures_with_a_reason(arm: str) -> None:
    """An arm that answered too early would look fast."""
    async with open_drivers([arm], ArmOptions(slots=1)) as opened:
        for command, limit_s in (("exit 7", 30.0), ("sleep 60", 1.0)):
            step = Step(tool="bash", arguments={"command": command}, limit_s=limit_s)
            load = one_lane(1, (step,), duration_s=0.01)
            result = await opened.drivers[arm].run(load, CallerSettings())
            assert result.lanes[0].failed == result.lanes[0].calls >= 1


async def test_a_driver_that_dies_is_an_error_not_a_silence() -> None:
    """The harness says which arm, instead of waiting for it."""
    async with open_drivers(["plain_spawn"], ArmOptions(slots=1)) as opened:
        driver = opened.drivers["plain_spawn"]
        os.kill(driver._child.pid, signal.SIGKILL)
        with pytest.raises(LostError, match="ended"):
            await driver.run(one_lane(1, (TRUE,), 0.1), CallerSettings())


async def test_a_child_that_ignores_the_end_of_its_input_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing waits for ever, not even for a promise."""
    monkeypatch.setattr("benchmarks.lib.children.GRACE_S", 0.1)
    with trio.fail_after(TOO_LONG_S):
        async with open_child("timeit", ["-n1", "-r1", "import time; time.sleep(3600)"]) as child:
            assert "returncode=None" in repr(child)
    assert child.pid not in list_processes()


def test_the_verb_runs_from_the_command_line(tmp_path: Path) -> None:
    """As a user would, from within the checkout."""
    command = ["-c", "from hermes_trio.cli import main; raise SystemExit(main())", "bench", "idle", "--smoke"]
    done = subprocess.run(
        [sys.executable, *command, "--arms", "plain_spawn", "--json", str(tmp_path / "r.json")],
        cwd=CHECKOUT,
        env=child_environment(),
        capture_output=True,
        text=True,
        timeout=TOO_LONG_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "plain_spawn" in done.stdout
    assert read_report(tmp_path / "r.json").smoke
