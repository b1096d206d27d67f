"""The directories of a local backend, above all that their removal removes nothing else."""

import os
import shutil

import pytest
import trio

from hermes_trio.backends import places
from hermes_trio.backends.places import open_places, remove_tree
from hermes_trio.errors import InvalidInputError, UnavailableError


def test_a_tree_with_links_is_removed_and_their_targets_are_not(tmp_path):
    """Agents plant links."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "precious").touch()
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "sub" / "link").symlink_to(tmp_path / "outside")
    remove_tree(root)
    assert not root.exists()
    assert (tmp_path / "outside" / "precious").exists()


def test_directories_that_keep_us_out_are_opened_first(tmp_path, monkeypatch):
    """Agents also change modes; links are left alone on that way too."""
    (tmp_path / "outside").mkdir(mode=0o500)
    root = tmp_path / "root"
    (root / "locked" / "deep").mkdir(parents=True)
    (root / "locked" / "link").symlink_to(tmp_path / "outside")
    (root / "locked" / "deep").chmod(0)
    (root / "locked").chmod(0)
    real, calls = shutil.rmtree, []

    def rmtree(path, ignore_errors=False):
        calls.append((path / "locked").stat().st_mode & 0o777)
        if len(calls) == 1:  # root is kept out by nothing, so say what it would say to others
            raise PermissionError(13, "Permission denied")
        real(path, ignore_errors=ignore_errors)

    monkeypatch.setattr(shutil, "rmtree", rmtree)
    remove_tree(root)
    assert calls == [0, 0o700]
    assert not root.exists()
    assert (tmp_path / "outside").stat().st_mode & 0o777 == 0o500


def test_a_tree_with_a_mount_in_it_is_left_alone(tmp_path, monkeypatch, caplog):
    """Removing through a bind mount would remove what is on its other side."""
    root = tmp_path / "ro ot"
    (root / "mnt").mkdir(parents=True)
    table = tmp_path / "mountinfo"
    mounted = str(root / "mnt").replace(" ", "\\040")
    table.write_text(
        f"36 35 98:0 / /elsewhere rw - ext4 /dev/x rw\n37 35 98:0 / {mounted} rw - ext4 /dev/x rw\n"
    )
    monkeypatch.setattr(places, "_MOUNT_TABLE", table)
    remove_tree(root)
    assert (root / "mnt").exists()
    assert f"still mounted path='{root}' mount='{root / 'mnt'}'" in caplog.text


def test_without_a_mount_table_there_are_no_mounts(tmp_path, monkeypatch):
    """As on systems that are not Linux."""
    monkeypatch.setattr(places, "_MOUNT_TABLE", tmp_path / "nothing")
    (tmp_path / "root").mkdir()
    remove_tree(tmp_path / "root")
    assert not (tmp_path / "root").exists()


def test_what_cannot_be_removed_is_said(tmp_path, monkeypatch, caplog):
    """And raises nothing: the daemons are gone, that is what matters."""
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)
    remove_tree(tmp_path)
    assert "could not be removed whole" in caplog.text


async def use(data_dir=None):
    """Open the directories and close them."""
    async with open_places(data_dir) as made:
        return made


def test_a_data_dir_we_may_not_use_is_bad_input(tmp_path, monkeypatch):
    """Named, before anything is started."""
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInputError, match="field 'data_dir'"):
        trio.run(use, tmp_path / "file")
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path / "x" and real(path, mode))
    with pytest.raises(InvalidInputError, match="cannot write there"):
        trio.run(use, tmp_path / "x")


def test_without_any_temporary_directory_nothing_can_be_done(tmp_path, monkeypatch):
    """And the text says what mends it."""
    monkeypatch.setattr(places, "_LASTING_TEMPORARY", tmp_path / "nothing")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nothing either"))
    with pytest.raises(UnavailableError, match=r"No temporary directory can be made.*Set TMPDIR"):
        trio.run(use)
