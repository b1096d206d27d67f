"""The levels below ``ns``, and the probe that chooses."""

# ruff: noqa: ASYNC240 - a test may look at files, processes and clocks as it likes

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest
import trio

from hermes_trio.errors import Provenance, UnavailableError
from hermes_trio.wire.operations import BashArguments
from sandbox_daemon.isolation import probe as probe_module
from sandbox_daemon.isolation.levels import Isolation, Level, Policy
from sandbox_daemon.isolation.probe import probe, survey
from sandbox_daemon.slots.pool import SlotPoolConfig, open_slot_pool

pytestmark = pytest.mark.slow


def _no_bwrap() -> str:
    raise UnavailableError("bubblewrap is not installed.", mend="Debian: apt-get install bubblewrap.")


@pytest.fixture
def without_bwrap(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that lacks it."""
    monkeypatch.setattr(probe_module, "find_bwrap", _no_bwrap)


@pytest.fixture
def reachable(tmp_path: Path) -> Path:
    """A data directory that strangers can reach; pytest's own lie below one that is private to root."""
    import shutil
    import tempfile

    folder = Path(tempfile.mkdtemp(dir="/var/tmp", prefix="hermes-test-"))
    folder.chmod(0o755)
    yield folder / "data"
    shutil.rmtree(folder)


@pytest.mark.bubblewrap
async def test_the_best_level_is_found_by_doing(tmp_path: Path) -> None:
    """And says what enforces it; what is not bounded yet is said too."""
    found = await probe(Policy.REQUIRED, tmp_path)
    assert found.level is Level.NS
    assert found.mechanisms["network"] == "network namespace"
    bounded = {"process count", "memory", "cpu", "disk"}
    lacking = {item.name.removesuffix(" limit") for item in found.missing}
    assert {name for name in bounded if found.mechanisms[name] in ("none", "RLIMIT_FSIZE")} <= lacking
    assert list(tmp_path.iterdir()) == []


async def test_required_without_namespaces_refuses_with_the_sentence_that_mends_it(
    without_bwrap: None, tmp_path: Path
) -> None:
    """It fails closed."""
    with pytest.raises(UnavailableError, match=r"bubblewrap is not installed.*apt-get install bubblewrap"):
        await probe("required", tmp_path)


@pytest.mark.usefixtures("without_bwrap")
def test_a_daemon_without_bubblewrap_does_not_start_and_says_why(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """One line, and the exit code for a host that lacks something; nothing is served, ever."""
    from sandbox_daemon.__main__ import EXIT_ENVIRONMENT, main

    (tmp_path / "token").write_text("t" * 64)
    options = ["--data-dir", str(tmp_path / "data"), "--token-file", str(tmp_path / "token")]
    assert main([*options, "--slots", "1", "--isolation", "required"]) == EXIT_ENVIRONMENT
    said = capfd.readouterr()
    assert said.out == ""
    assert "Isolation level ns does not hold on this host: bubblewrap is not installed" in said.err


async def test_a_bwrap_that_fails_is_no_bwrap(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Installed is not enough."""
    monkeypatch.setattr(probe_module, "find_bwrap", lambda: "/bin/false")
    with pytest.raises(UnavailableError, match="ended before its hello"):
        await probe("required", tmp_path)


@pytest.mark.bubblewrap
async def test_a_slot_that_does_not_hold_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A suite that finds something open decides, whatever else works."""
    monkeypatch.setitem(probe_module.suite._ATTEMPTS, "shadow", "true")
    with pytest.raises(UnavailableError, match="a slot could get at: shadow"):
        await probe("required", tmp_path)


@pytest.mark.root
async def test_auto_takes_the_next_level_and_says_so_loudly(
    without_bwrap: None, tmp_path: Path, reachable: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As root without namespaces: a uid per slot."""
    found = await probe("auto", reachable)
    assert found.level is Level.UID
    assert found.missing[0].name == "ns"
    assert "apt-get install bubblewrap" in found.missing[0].mend
    assert "RUNNING BELOW ISOLATION LEVEL 'ns' level=uid" in caplog.text


async def test_none_must_be_named(tmp_path: Path) -> None:
    """It is what it says."""
    found = await probe("none", tmp_path)
    assert found.level is Level.NONE
    assert found.mechanisms["network"] == "none"
    with pytest.raises(ValueError, match="whatever"):
        await probe("whatever", tmp_path)


async def test_auto_refuses_where_no_level_holds(
    without_bwrap: None, reachable: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A probe that fails must not be why commands run without walls; only who looks is told of level none."""
    with monkeypatch.context() as patch:
        patch.setattr(probe_module.os, "geteuid", lambda: 1000)
        with pytest.raises(UnavailableError, match="Level none, which protects nothing, has to be named"):
            await probe("auto", reachable)
    assert (await survey(reachable)).level is (Level.UID if os.geteuid() == 0 else Level.NONE)


@pytest.fixture(params=["uid", "none", "uid without groups", "none without groups"])
async def lower(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, reachable: Path
) -> Isolation:
    """An isolation below ``ns``, on this host and on one without control groups."""
    if request.param.endswith("without groups"):
        monkeypatch.setattr("sandbox_daemon.isolation.cgroup_tree._read", lambda path: "")
    if request.param.startswith("none"):
        return await probe("none", reachable)
    if os.geteuid() != 0:
        pytest.skip("needs root")
    monkeypatch.setattr(probe_module, "find_bwrap", _no_bwrap)
    return await probe("auto", reachable)


async def test_lower_levels_run_commands_and_sweep_all_the_same(lower: Isolation, reachable: Path) -> None:
    """Exit, limit, cancel, files and reset; nobody is left."""
    async with open_slot_pool(SlotPoolConfig(slots=1, data_dir=reachable), lower) as pool:
        lease = await pool.acquire(owner="o", trajectory_id="t")
        cell = pool._cells[lease.slot]

        async def run(command: str, limit_s: float = 10.0) -> object:
            return await pool.bash(lease, BashArguments(command=command), limit_s=limit_s)

        outcome = await run(
            "setsid sleep 1000 & (setsid sh -c 'sleep 1000 & sleep 1000' &) & sleep 0.1; echo hi; exit 3"
        )
        assert (outcome.payload, outcome.data["exit_code"]) == (b"hi\n", 3)
        assert outcome.data["isolation"] == lower.level.value
        assert outcome.data["sandboxed"] is (lower.level is Level.UID)
        assert _children(cell.agent.pid) == []
        outcome = await run("trap '' TERM; setsid sleep 1000 & echo early; sleep 1000", 0.3)
        assert (outcome.payload, outcome.data["ending"]) == (b"early\n", "limit")
        assert _children(cell.agent.pid) == []
        with trio.move_on_after(0.2):
            await run("for i in $(seq 50); do setsid sleep 1000 & done; sleep 1000")
        assert _children(cell.agent.pid) == []
        assert (
            await run("cat /etc/hostname > f; ln -s /etc/hostname out; echo $TMPDIR > $TMPDIR/t")
        ).error == ""
        assert (await _read(pool, lease, "out")).provenance is Provenance.DENIED
        assert (await _read(pool, lease, "f")).payload == Path("/etc/hostname").read_bytes()
        assert await pool.release(lease) == "ready"
        lease = await pool.acquire(owner="o", trajectory_id="t")
        assert (await run("ls -A . $TMPDIR | grep -v :")).payload.strip() == b""


async def _read(pool: object, lease: object, path: str) -> object:
    from hermes_trio.wire.operations import ReadFileArguments

    return await pool.read_file(lease, ReadFileArguments(path=path))


def _children(pid: int) -> list[str]:
    """Those that live; a dead one may still wait for its agent to collect it."""
    pids = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [child for child in pids if ") Z " not in Path(f"/proc/{child}/stat").read_text()]


async def test_a_hung_agent_at_a_lower_level_is_killed_with_everybody(
    lower: Isolation, reachable: Path
) -> None:
    """There is no namespace to die with it."""
    async with open_slot_pool(SlotPoolConfig(slots=1, data_dir=reachable), lower) as pool:
        lease = await pool.acquire(owner="o", trajectory_id="t")
        agent = pool._cells[lease.slot].agent.pid
        marker = f"3600.{os.getpid()}"  # a sleeper nobody else has
        async with trio.open_nursery() as nursery:

            async def stop() -> None:
                while len(_sleepers(marker)) < 2:  # noqa: ASYNC110 - nothing tells of a process in a slot
                    await trio.sleep(0.01)
                os.kill(agent, signal.SIGSTOP)

            nursery.start_soon(stop)
            command = BashArguments(command=f"setsid sleep {marker} & sleep {marker}")
            outcome = await pool.bash(lease, command, limit_s=1.0)
        assert outcome.data["ending"] == "limit"
        assert _sleepers(marker) == []
        assert (await pool.bash(lease, BashArguments(command="echo ok"))).payload == b"ok\n"


def _sleepers(marker: str) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and marker.encode() in (entry / "cmdline").read_bytes().split(b"\0"):
                found.append(entry.name)
        except OSError:
            continue
    return found


@pytest.mark.root
async def test_level_uid_walls_slots_off_from_each_other_and_the_host(
    without_bwrap: None, tmp_path: Path, reachable: Path
) -> None:
    """Own uids: no reading, no signals; no sockets unless the call may have them."""
    found = await probe("auto", reachable)
    async with open_slot_pool(SlotPoolConfig(slots=2, data_dir=reachable), found) as pool:
        one = await pool.acquire(owner="o", trajectory_id="1")
        two = await pool.acquire(owner="o", trajectory_id="2")

        async def run(lease: object, command: str, **more: bool) -> object:
            return await pool.bash(lease, BashArguments(command=command, **more), limit_s=10)

        secret = pool._site.storage.workspace(two.slot)
        await run(two, "echo secret > f")
        assert (await run(one, f"cat {secret}/f; ls {secret}")).data["stdout_bytes"] == 0
        assert (await run(one, "cat /etc/shadow")).data["stdout_bytes"] == 0
        assert (await run(one, f"kill -9 {pool._cells[two.slot].agent.pid}")).data["exit_code"] != 0
        with socket.create_server(("127.0.0.1", 0)) as listener:
            dial = f"exec 3<>/dev/tcp/127.0.0.1/{listener.getsockname()[1]}"
            outcome = await run(one, dial)
            assert (outcome.data["exit_code"], outcome.data["network_isolated"]) == (1, True)
            outcome = await run(one, dial, allow_network=True)
            assert (outcome.data["exit_code"], outcome.data["network_isolated"]) == (0, False)
        # Here a command can kill its own agent: the call is lost, the other slot is not touched.
        outcome = await run(one, "kill -9 -1; sleep 1000")
        assert outcome.provenance in (Provenance.SANDBOX_LOST, Provenance.TOOL_ERROR)
        assert (await run(two, "cat f")).payload == b"secret\n"
        assert (await run(one, "echo ok")).payload == b"ok\n"


@pytest.mark.root
async def test_level_uid_needs_a_data_directory_that_slots_can_reach(
    without_bwrap: None, tmp_path: Path
) -> None:
    """The error names the folder that stands in the way."""
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    isolation = Isolation(level=Level.UID, mechanisms={}, interpreter="/usr/bin/python3", seccomp=True)
    with pytest.raises(UnavailableError, match="which the slots' uids cannot pass"):
        async with open_slot_pool(SlotPoolConfig(slots=1, data_dir=private / "data"), isolation):
            raise AssertionError


async def test_a_removed_workspace_is_made_again(reachable: Path) -> None:
    """At level none a command can remove it; the next agent must find one."""
    isolation = await probe(Policy.NONE, reachable.parent)
    async with open_slot_pool(SlotPoolConfig(slots=1, data_dir=reachable), isolation) as pool:
        lease = await pool.acquire(owner="test", trajectory_id="t")
        await pool.bash(lease, BashArguments(command='rm -rf "$PWD"; kill -9 $PPID'))
        outcome = await pool.bash(lease, BashArguments(command="echo > f; ls"))
        assert (outcome.error, outcome.payload) == ("", b"f\n")


async def test_a_required_sandbox_is_refused_at_level_none(reachable: Path) -> None:
    """Nothing runs."""
    found = await probe("none", reachable)
    async with open_slot_pool(SlotPoolConfig(slots=1, data_dir=reachable), found) as pool:
        lease = await pool.acquire(owner="o", trajectory_id="t")
        outcome = await pool.bash(lease, BashArguments(command="touch ran", require_sandbox=True))
        assert outcome.provenance is Provenance.DENIED
        assert not (pool._site.storage.workspace(lease.slot) / "ran").exists()


@pytest.mark.bubblewrap
async def test_a_kernel_that_refuses_the_filter_is_said_to(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The level holds without it, and the report says what is missing."""
    monkeypatch.setattr("sandbox_daemon.isolation.policy.build_filter", lambda machine, **_: b"\xff" * 8)
    found = await probe("required", tmp_path)
    assert (found.level, found.seccomp) == (Level.NS, False)
    assert found.missing[0].name == "seccomp"
    assert found.mechanisms["system calls"] == "none"


async def test_a_data_directory_that_cannot_be_made_is_an_error_that_mends() -> None:
    """Before anything is tried."""
    with pytest.raises(UnavailableError, match="cannot be made"):
        await probe("auto", Path("/proc/nowhere/data"))
