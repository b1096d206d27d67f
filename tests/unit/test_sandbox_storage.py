"""Folders of the daemon: held, filled, thrown away, deleted whatever is in them."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
from pathlib import Path

import pytest

from hermes_trio.errors import UnavailableError
from sandbox_daemon.isolation.etc import write_etc
from sandbox_daemon.isolation.host import find_interpreter, read_layout, untraversable
from sandbox_daemon.isolation.uids import reserve_uids
from sandbox_daemon.slots.storage import hold_data_directory
from sandbox_daemon.slots.trash import delete_tree


def delete(folder: Path, name: str) -> None:
    """As the trash does."""
    (folder / "rubble").mkdir(exist_ok=True)
    parent, rubble = (os.open(path, os.O_RDONLY | os.O_DIRECTORY) for path in (folder, folder / "rubble"))
    try:
        delete_tree(parent, name, rubble=rubble)
    finally:
        os.close(parent)
        os.close(rubble)
    (folder / "rubble").rmdir()


def test_a_tree_is_deleted_whatever_is_in_it(tmp_path: Path) -> None:
    """Links are removed, not followed; modes do not matter; FIFOs do not block."""
    outside = tmp_path / "outside"
    (outside / "folder").mkdir(parents=True)
    (outside / "file").write_text("kept")
    tree = tmp_path / "tree"
    (tree / "a" / "b").mkdir(parents=True)
    (tree / "a" / "f").write_text("x")
    (tree / "to-folder").symlink_to(outside / "folder")
    (tree / "a" / "to-file").symlink_to(outside / "file")
    (tree / "a" / "b" / "nowhere").symlink_to("missing")
    os.mkfifo(tree / "fifo")
    os.link(outside / "file", tree / "hard")
    (tree / "a" / "b").chmod(0)
    (tree / "a").chmod(0)
    delete(tmp_path, "tree")
    assert [path.name for path in tmp_path.iterdir()] == ["outside"]
    assert sorted(path.name for path in outside.iterdir()) == ["file", "folder"]
    assert (outside / "file").read_text() == "kept"


def test_depth_costs_neither_stack_nor_descriptors(tmp_path: Path) -> None:
    """3,000 levels, which no path can name."""
    here = os.open(tmp_path, os.O_RDONLY)
    top = here
    for _ in range(3000):
        os.mkdir("deep", dir_fd=here)
        below = os.open("deep", os.O_RDONLY, dir_fd=here)
        if here != top:
            os.close(here)
        here = below
    os.close(here)
    os.close(top)
    delete(tmp_path, "deep")
    assert list(tmp_path.iterdir()) == []


def test_a_single_file_is_a_tree_too(tmp_path: Path) -> None:
    """And so is a link to a folder."""
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to("/usr")
    delete(tmp_path, "file")
    delete(tmp_path, "link")
    assert list(tmp_path.iterdir()) == []


def test_each_life_has_a_greater_epoch(tmp_path: Path) -> None:
    """Also after one that was damaged."""
    for expected in (1, 2, 3):
        with hold_data_directory(tmp_path / "d") as directory:
            assert directory.epoch == expected
            assert repr(directory) == f"<DataDirectory {tmp_path}/d epoch {expected}>"
    (tmp_path / "d" / "epoch").write_text("garbage")
    with hold_data_directory(tmp_path / "d") as directory:
        assert directory.epoch == 1


def test_what_an_earlier_life_left_is_thrown_away_at_once_and_deleted_later(tmp_path: Path) -> None:
    """Starting does not wait for a million files."""
    with hold_data_directory(tmp_path) as directory:
        directory.make_slot("slot_0", None)
        (directory.workspace("slot_0") / "f").write_text("x")
        directory.etc.mkdir()
    with hold_data_directory(tmp_path) as directory:
        assert list((tmp_path / "slots").iterdir()) == []
        assert not directory.etc.exists()
        assert directory.trash_count() == 2
        directory.empty_trash()
        assert directory.trash_count() == 0


def test_a_tree_of_many_folders_counts_as_one_while_it_is_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Resets wait for a long trash: one slot's subfolders must not hold up everybody's."""
    counts = []
    with hold_data_directory(tmp_path) as directory:
        directory.make_slot("slot_0", None)
        for number in range(400):
            (directory.workspace("slot_0") / f"{number}" / "below").mkdir(parents=True)
        directory.discard_slot("slot_0")
        rmdir = os.rmdir

        def counting(name: str, *, dir_fd: int | None = None) -> None:
            counts.append(directory.trash_count())
            rmdir(name, dir_fd=dir_fd)

        monkeypatch.setattr(os, "rmdir", counting)
        directory.empty_trash()
        assert max(counts) == 1
        assert directory.trash_count() == len(os.listdir(tmp_path / "rubble")) == 0


def test_rubble_of_an_earlier_life_is_cleared(tmp_path: Path) -> None:
    """The daemon was killed while it deleted."""
    with hold_data_directory(tmp_path) as directory:
        (tmp_path / "rubble" / "1-1" / "below").mkdir(parents=True)
        (tmp_path / "rubble" / "1-1" / "file").write_text("x")
        directory.empty_trash()
        assert os.listdir(tmp_path / "rubble") == []


def test_a_folder_that_keeps_an_entry_back_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some file systems skip entries of a folder that shrinks while it is read."""
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").write_text("x")
    rmdir, late = os.rmdir, [tmp_path / "tree" / "late"]

    def skipping(name: str, *, dir_fd: int | None = None) -> None:
        if late:
            late.pop().write_text("x")
        rmdir(name, dir_fd=dir_fd)

    monkeypatch.setattr(os, "rmdir", skipping)
    delete(tmp_path, "tree")
    assert list(tmp_path.iterdir()) == []


def test_a_failure_to_delete_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fails must not be asked for ever."""

    def failing(name: str, *, dir_fd: int | None = None) -> None:
        raise OSError(errno.EIO, "broken")

    (tmp_path / "tree" / "below").mkdir(parents=True)
    monkeypatch.setattr(os, "rmdir", failing)
    with pytest.raises(OSError, match="broken"):
        delete(tmp_path, "tree")
    (tmp_path / "tree" / "below").rename(tmp_path / "other")
    with pytest.raises(OSError, match="broken"):
        delete(tmp_path, "other")


def test_what_a_slot_closed_or_removed_is_mended(tmp_path: Path) -> None:
    """Its other bits and its files stay; a link in its place is not followed."""
    with hold_data_directory(tmp_path / "d") as directory:
        directory.make_slot("slot_0", None)
        workspace = directory.workspace("slot_0")
        (workspace / "f").write_text("x")
        workspace.chmod(0o005)
        (workspace.parent / "tmp").rmdir()
        directory.mend_slot("slot_0")
        assert stat.S_IMODE(workspace.stat().st_mode) == 0o705
        assert (workspace / "f").read_text() == "x"
        (workspace.parent / "tmp").rmdir()
        (tmp_path / "other").mkdir(mode=0o500)
        (workspace.parent / "tmp").symlink_to(tmp_path / "other")
        with pytest.raises(OSError, match="Not a directory"):
            directory.mend_slot("slot_0")
        assert stat.S_IMODE((tmp_path / "other").stat().st_mode) == 0o500


def test_a_discarded_slot_can_be_made_anew(tmp_path: Path) -> None:
    """A reset is a rename."""
    with hold_data_directory(tmp_path) as directory:
        directory.discard_slot("slot_0")
        for _ in range(2):
            directory.make_slot("slot_0", None)
            workspace = directory.workspace("slot_0")
            assert list(workspace.iterdir()) == []
            assert stat.S_IMODE(workspace.stat().st_mode) == 0o700
            (workspace / "f").write_text("x")
            directory.discard_slot("slot_0")
        assert directory.trash_count() == 2


def test_a_data_directory_that_is_none_is_refused(tmp_path: Path) -> None:
    """A file, a link to somebody else's."""
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/1/nope")):
        with pytest.raises(UnavailableError, match="data directory"), hold_data_directory(path):
            raise AssertionError


@pytest.mark.root
def test_a_data_directory_of_somebody_else_is_refused(tmp_path: Path) -> None:
    """They could swap what is in it under us."""
    (tmp_path / "theirs").mkdir()
    os.chown(tmp_path / "theirs", 12345, 12345)
    with (
        pytest.raises(UnavailableError, match="not a directory of this user"),
        hold_data_directory(tmp_path / "theirs"),
    ):
        raise AssertionError


@pytest.mark.root
def test_a_slots_folders_are_its_own(tmp_path: Path) -> None:
    """Others pass above them and see nothing."""
    with hold_data_directory(tmp_path / "d") as directory:
        directory.make_slot("slot_0", 70_000)
        assert directory.workspace("slot_0").stat().st_uid == 70_000
        assert stat.S_IMODE((tmp_path / "d").stat().st_mode) & 0o007 == 0o001
        assert stat.S_IMODE((tmp_path / "d" / "slots").stat().st_mode) == 0o711


def test_two_daemons_never_share_uids(tmp_path: Path) -> None:
    """A range is held as long as its daemon lives."""
    with reserve_uids(8, locks=tmp_path) as first:
        with reserve_uids(8, locks=tmp_path) as second:
            assert set(first).isdisjoint(second)
        with reserve_uids(8, locks=tmp_path) as third:
            assert third == second
    with reserve_uids(8, locks=tmp_path) as again:
        assert again == first


def test_uids_of_real_users_are_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And when there is nothing else, refused."""
    with reserve_uids(4, base=0, locks=tmp_path) as uids:
        assert 0 not in uids
    everybody = type(
        "Everybody", (), {"isdisjoint": lambda self, uids: False, "__or__": lambda self, other: self}
    )
    monkeypatch.setattr("sandbox_daemon.isolation.uids._taken", lambda: everybody())
    with (
        pytest.raises(UnavailableError, match="No free range of 4 uids from 70000 up"),
        reserve_uids(4, locks=tmp_path),
    ):
        raise AssertionError


@pytest.mark.root
def test_uids_that_a_killed_daemon_has_left_processes_with_are_passed_over(tmp_path: Path) -> None:
    """They could signal whoever came to have the same."""
    with reserve_uids(8, locks=tmp_path) as killed:
        left_behind = subprocess.Popen(["/bin/sleep", "60"], user=killed[3])
    with left_behind:
        try:
            with reserve_uids(8, locks=tmp_path) as uids:
                assert killed[3] not in uids
        finally:
            left_behind.kill()
    with reserve_uids(8, locks=tmp_path) as uids:
        assert uids == killed


def test_the_slots_etc_holds_no_secrets_and_no_users(tmp_path: Path) -> None:
    """But what programs need."""
    source = tmp_path / "etc"
    for name in ("ssl/certs", "ssl/private", "alternatives", "java-17"):
        (source / name).mkdir(parents=True)
    for name in ("shadow", "passwd", "ssl/openssl.cnf", "services", "hosts"):
        (source / name).write_text("of the host")
    target = tmp_path / "made"
    assert set(write_etc(target, source=source)) == {"ssl/certs", "alternatives", "java-17"}
    assert not (target / "shadow").exists()
    assert not (target / "ssl" / "private").exists()
    assert "of the host" not in (target / "passwd").read_text() + (target / "hosts").read_text()
    assert (target / "services").read_text() == "of the host"
    assert (target / "ssl" / "openssl.cnf").read_text() == "of the host"
    assert [path for path in target.rglob("*") if not path.stat().st_mode & 0o004] == []


def test_an_etc_without_anything_is_made_all_the_same(tmp_path: Path) -> None:
    """A bare container has little there."""
    (tmp_path / "etc").mkdir()
    assert write_etc(tmp_path / "made", source=tmp_path / "etc") == ()
    assert "agent" in (tmp_path / "made" / "passwd").read_text()


def test_the_first_folder_in_the_way_is_named(tmp_path: Path) -> None:
    """From the top."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a").chmod(0o700)
    found = untraversable(tmp_path / "a" / "b")
    assert found is not None
    assert (tmp_path / "a").is_relative_to(found)
    assert untraversable(Path("/usr/bin")) is None


def test_an_interpreter_for_slots_lies_below_usr_and_can_be_run_by_anybody() -> None:
    """The tests' own may do neither."""
    path = find_interpreter(within_usr=True, for_stranger=True)
    assert path.startswith("/usr/")
    assert untraversable(Path(path)) is None


def test_no_interpreter_is_an_error_that_mends(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's own Python is what is wanted."""
    monkeypatch.setattr("sandbox_daemon.isolation.host._PREFERRED", ("/nonexistent/python3",))
    monkeypatch.setattr("sys.executable", "/nonexistent/python")
    with pytest.raises(UnavailableError, match="apt-get install python3"):
        find_interpreter(within_usr=True, for_stranger=True)


def test_merged_and_unmerged_systems_are_told_apart() -> None:
    """Every top-level folder is either a link or a folder."""
    layout = read_layout()
    names = {path for path, _ in layout.links} | set(layout.folders)
    assert {"/bin", "/lib"} <= names


def test_an_agent_that_a_killed_daemon_left_is_ended_by_the_next(tmp_path: Path) -> None:
    """Named beyond doubt; anything else of that number is let be."""
    import subprocess

    with (
        subprocess.Popen(["/bin/sleep", "1000"]) as left,
        subprocess.Popen(["/bin/sleep", "1000"]) as stranger,
    ):
        try:
            with hold_data_directory(tmp_path) as directory:
                directory.ledger.note("slot_0", left.pid)
                directory.ledger.note("slot_1", stranger.pid)
                directory.ledger.note("slot_2", 1 << 22)
            line = (tmp_path / "agents" / "slot_1").read_text().split()
            (tmp_path / "agents" / "slot_1").write_text(f"{line[0]} 1 {line[2]}\n")
            (tmp_path / "agents" / "slot_3").write_text("garbage")
            with hold_data_directory(tmp_path) as directory:
                assert left.wait(5) == -9
                assert stranger.poll() is None
                assert list((tmp_path / "agents").iterdir()) == []
                assert directory.ledger.end_leftovers() == 0
        finally:
            left.kill()
            stranger.kill()
