"""What the harness sees of the host: files that changed, processes that stayed, argument vectors."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from benchmarks.arms.commands import ancestor_argv, sandboxed_argv
from benchmarks.arms.workspaces import open_workspaces
from benchmarks.lib import host_state
from benchmarks.lib.host_state import capture_host_state, compare, watched_roots
from benchmarks.lib.processes import (
    Process,
    command_line,
    daemon_data_dir,
    descendants,
    list_processes,
    own_bytes,
)
from benchmarks.lib.watch import Watch


def test_changed_new_and_vanished_files_are_seen(tmp_path: Path) -> None:
    """By size, time and mode; reported under the root's label, not under its path."""
    for name in ("same", "longer", "gone", "mode"):
        (tmp_path / name).write_text("x")
    roots = {"$ROOT": tmp_path}
    before = capture_host_state(roots)
    (tmp_path / "longer").write_text("xx")
    (tmp_path / "gone").unlink()
    (tmp_path / "mode").chmod(0o600)
    (tmp_path / "new").symlink_to("same")
    after = capture_host_state(roots)
    changed = set(compare(before, after).files)
    assert changed == {"$ROOT/longer", "$ROOT/gone", "$ROOT/mode", "$ROOT/new"}
    assert before.digest() != after.digest()


def test_an_untouched_host_is_the_same(tmp_path: Path) -> None:
    """Looking changes nothing, nor do files that came and went, or daemons of others."""
    (tmp_path / "file").write_text("x")
    roots = {"$ROOT": tmp_path}
    before = capture_host_state(roots)
    (tmp_path / "temporary").touch()
    (tmp_path / "temporary").unlink()
    (tmp_path / "hermes-trio-of-others").mkdir()
    (tmp_path / "hermes-trio-of-others" / "file").touch()
    after = capture_host_state(roots)
    assert compare(before, after).files == ()
    assert before.digest() == after.digest()
    assert before.complete


def test_too_many_files_are_said_to_be_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bound that is hit must not look like a clean comparison."""
    monkeypatch.setattr(host_state, "MAX_ENTRIES", 2)
    for name in "abc":
        (tmp_path / name).touch()
    assert not capture_host_state({"$ROOT": tmp_path}).complete


def test_the_home_directory_is_watched_under_a_neutral_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports are published; without a home there is nothing to watch."""
    monkeypatch.setenv("HOME", "/somewhere")
    assert watched_roots()["$HOME"] == Path("/somewhere")
    assert "$HOME" not in watched_roots(home=False)
    monkeypatch.delenv("HOME")
    assert "$HOME" not in watched_roots()


def process(pid: int, parent: int) -> Process:
    """A process of which only the family matters."""
    return Process(pid=pid, parent=parent, started=0, name="x")


def test_descendants_are_found_at_any_depth() -> None:
    """And nobody else's."""
    table = {each.pid: each for each in (process(2, 1), process(3, 2), process(4, 3), process(5, 1))}
    assert {each.pid for each in descendants(2, table)} == {3, 4}


def test_this_process_is_listed_with_its_memory() -> None:
    """Against the real /proc."""
    own = list_processes()[os.getpid()]
    assert own.parent == os.getppid()
    assert own_bytes(os.getpid()) > 1_000_000


def test_a_process_that_is_gone_has_no_memory_and_runs_nothing() -> None:
    """No pid is that high."""
    assert own_bytes(2**30) == 0
    assert command_line(2**30) == []


@pytest.mark.parametrize(
    ("line", "data_dir"),
    [
        ("/usr/bin/python3 -m sandbox_daemon --slots 2 --data-dir /d", "/d"),
        ("/usr/local/bin/sandbox-daemon --data-dir /d --slots 2", "/d"),
        ("/usr/bin/python3 -m sandbox_daemon --data-dir", None),
        ("/usr/bin/python3 -m other --data-dir /d", None),
        ("", None),
    ],
)
def test_a_daemon_is_known_by_its_command_line(line: str, data_dir: str | None) -> None:
    """Started either way; what only looks like one is none."""
    assert daemon_data_dir(line.split()) == data_dir


def test_a_child_that_lives_on_is_a_survivor() -> None:
    """Seen once below us and still alive: it is named, until it is gone."""
    pid = os.posix_spawn("/bin/sleep", ["sleep", "60"], {})
    watch = Watch()
    try:
        watch.look()
        assert {each.pid for each in watch.survivors()} == {pid}
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    assert pid not in {each.pid for each in watch.survivors()}


def test_root_drops_to_the_slots_uid_before_bubblewrap(monkeypatch: pytest.MonkeyPatch) -> None:
    """As root it would keep the host's root inside; as anybody else there is nothing to drop."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    argv = sandboxed_argv("true", workspace=Path("/w"), uid=7, allow_network=True)
    assert argv[0].endswith("setpriv")
    assert argv[1:6] == ["--reuid", "7", "--regid", "7", "--clear-groups"]
    assert "--disable-userns" in argv
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert sandboxed_argv("true", workspace=Path("/w"), uid=7, allow_network=True)[0].endswith("bwrap")


@pytest.mark.parametrize("allow_network", [False, True])
def test_both_sandboxes_cut_the_network_when_told_to(allow_network: bool) -> None:
    """Arms that are compared do the same work."""
    ours = sandboxed_argv("true", workspace=Path("/w"), uid=7, allow_network=allow_network)
    theirs = ancestor_argv("true", workspace=Path("/w"), allow_network=allow_network)
    assert ("--unshare-net" in ours) is ("--unshare-net" in theirs) is not allow_network
    assert ours[-3:] == ["/bin/bash", "-c", "true"]
    assert theirs[-3:] == ["/bin/sh", "-c", "true"]


def test_workspaces_stay_with_their_trajectory_and_end_with_the_block() -> None:
    """One more trajectory than slots is an error, not a shared directory."""
    with open_workspaces(2) as workspaces:
        one, two = workspaces.of("a"), workspaces.of("b")
        assert one != two
        assert workspaces.of("a") == one
        assert one[0].is_dir()
        assert repr(workspaces) == "<Workspaces 2 of 2 taken>"
        with pytest.raises(IndexError):
            workspaces.of("c")
    assert not one[0].exists()


def test_a_directory_of_our_daemon_that_is_still_there_is_left(tmp_path: Path) -> None:
    """Known by the daemon's command line while it ran."""
    script = "import time; time.sleep(60)"
    words = [sys.executable, "-c", script, "sandbox_daemon", "--data-dir", str(tmp_path)]
    pid = os.posix_spawn(words[0], words, {})
    watch = Watch()
    try:
        _wait_for_words(pid)
        watch.look()
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    assert watch.left_directories() == [str(tmp_path)]
    tmp_path.rmdir()
    assert watch.left_directories() == []


def test_memory_is_that_of_each_side_and_of_nobody_else(tmp_path: Path) -> None:
    """The executor's by its pid, the daemon's by its command line; not that of whoever watches."""
    ballast = "import sys, time; held = bytes([1]) * 2**24 if len(sys.argv) > 1 else b''; time.sleep(60)"
    words = [sys.executable, "-S", "-c", ballast]
    executor = os.posix_spawn(words[0], words, {})
    words = [*words, "sandbox_daemon", "--data-dir", str(tmp_path)]
    words[1:2] = []  # the words that tell a daemon stand among the first four
    daemon = os.posix_spawn(words[0], words, {})
    watch = Watch()
    try:
        _wait_for_words(daemon)
        watch.look()
        while not watch.daemon.sizes or watch.daemon.sizes[-1] < 2**24:
            watch.measure(executor, calls=7)
    finally:
        for pid in (executor, daemon):
            os.kill(pid, 9)
            os.waitpid(pid, 0)
    assert watch.executor.calls[-1] == watch.daemon.calls[-1] == 7
    assert 0 < watch.executor.sizes[-1] < 2**24 < watch.daemon.sizes[-1]


def _wait_for_words(pid: int) -> None:
    """Until the child has become its program; it needs no clock, only its turn."""
    while "sandbox_daemon" not in command_line(pid):
        os.sched_yield()
