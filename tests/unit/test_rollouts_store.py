"""The run's directory: whole lines, a whole summary, never two runs in one place."""

from __future__ import annotations

import json
import os
import resource
from datetime import datetime
from pathlib import Path

import pytest

from hermes_trio.errors import InvalidInputError, Provenance, UnavailableError
from hermes_trio.rollouts.group import Assignment
from hermes_trio.rollouts.record import Ending, Stage
from hermes_trio.rollouts.store import RunDirectory, fresh_directory, open_run_directory
from hermes_trio.rollouts.tasks import Task


def _record(index=0):
    task = Task(id="a", prompt="p", verifier="true")
    ending = Ending(stage=Stage.VERIFIER, provenance=Provenance.OK, solved=True)
    return Assignment(task=task, index=index).record(ending)


def test_each_record_is_on_disk_when_append_returns(tmp_path: Path):
    """A reader sees it at once; nothing waits in a buffer."""
    with open_run_directory(tmp_path / "new" / "run") as directory:
        for index in range(3):
            directory.append(_record(index))
            lines = (directory.path / "trajectories.jsonl").read_bytes().splitlines()
            assert [json.loads(line)["index"] for line in lines] == list(range(index + 1))


def test_a_summary_replaces_the_one_before_and_leaves_nothing_beside_it(tmp_path: Path):
    """Whole or not at all."""
    with open_run_directory(tmp_path / "run") as directory:
        directory.write_summary({"turns": 1})
        directory.write_summary({"turns": 2})
    assert json.loads((tmp_path / "run" / "summary.json").read_text()) == {"turns": 2}
    assert sorted(os.listdir(tmp_path / "run")) == ["summary.json", "trajectories.jsonl"]


def test_a_directory_that_holds_a_run_is_refused(tmp_path: Path):
    """Its trajectories would be mixed with these."""
    with open_run_directory(tmp_path) as directory:
        directory.append(_record())
    with (
        pytest.raises(InvalidInputError, match=r"holds the trajectories of another run already$"),
        open_run_directory(tmp_path),
    ):
        pass


def test_a_file_in_the_place_of_the_directory_is_refused(tmp_path: Path):
    """By name, in one sentence."""
    (tmp_path / "run").write_text("")
    with (
        pytest.raises(InvalidInputError, match=r"run: is not a directory$"),
        open_run_directory(tmp_path / "run"),
    ):
        pass


def test_a_place_that_cannot_be_written_is_refused():
    """With the system's words."""
    with (
        pytest.raises(InvalidInputError, match="cannot be written to"),
        open_run_directory(Path("/proc/run")),
    ):
        pass


def test_a_run_that_never_began_leaves_no_directory(tmp_path: Path):
    """Nor does one that failed before its first trajectory."""
    with open_run_directory(tmp_path / "run"):
        pass
    assert os.listdir(tmp_path) == []


def test_what_was_in_the_directory_before_stays(tmp_path: Path):
    """Only what is ours is taken away."""
    (tmp_path / "notes").write_text("mine")
    with open_run_directory(tmp_path):
        pass
    assert os.listdir(tmp_path) == ["notes"]


def test_a_full_disk_is_one_sentence(tmp_path: Path):
    """For lines and for the summary."""
    with open("/dev/full", "wb", buffering=0) as full:
        directory = RunDirectory(tmp_path, full)
        with pytest.raises(UnavailableError, match=r"trajectories\.jsonl cannot be written: No space left"):
            directory.append(_record())
    (tmp_path / "summary.json.part").symlink_to("/dev/full")
    with pytest.raises(UnavailableError, match=r"summary\.json cannot be written: No space left"):
        directory.write_summary({})
    assert repr(directory) == f"<RunDirectory {tmp_path}>"


def test_runs_of_one_second_have_names_of_their_own(tmp_path: Path):
    """Two runs started together do not meet."""
    now = datetime(2024, 5, 6, 7, 8, 9)
    names = []
    for _ in range(3):
        path = fresh_directory(tmp_path, now=now)
        path.mkdir()
        names.append(path.name)
    assert names == ["20240506-070809", "20240506-070809-2", "20240506-070809-3"]


def test_a_disk_that_becomes_full_within_a_line_leaves_whole_lines(tmp_path: Path):
    """What did not fit is taken back; readers of the file never see half a record."""
    with open_run_directory(tmp_path / "run") as directory:
        directory.append(_record(0))
        room = (directory.path / "trajectories.jsonl").stat().st_size + 10
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
        try:
            with pytest.raises(UnavailableError, match="cannot be written"):
                directory.append(_record(1))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    [line] = (tmp_path / "run" / "trajectories.jsonl").read_bytes().splitlines()
    assert json.loads(line)["index"] == 0
