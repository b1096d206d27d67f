"""The task file: what is read, and the one sentence for each way in which it can be wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hermes_trio.errors import InvalidInputError
from hermes_trio.rollouts import tasks
from hermes_trio.rollouts.tasks import Task, TaskBase, TaskLimits, parse_tasks, read_tasks, shipped_tasks_path

LEAST = {"id": "a", "prompt": "Do it.", "verifier": "true"}


def _line(**changes):
    return json.dumps(LEAST | changes).encode()


def _problem(data):
    with pytest.raises(InvalidInputError) as caught:
        parse_tasks(data, source="t.jsonl")
    return caught.value


def test_a_whole_task_is_read_as_it_stands():
    """Every field, lists as tuples, seconds as floats."""
    (task,) = parse_tasks(
        _line(
            files={"a/b.txt": "hello\n"},
            setup=["touch c"],
            reference=["true", "false"],
            limits={"turns": 4, "call_s": 2, "trajectory_s": 9.5},
            tags=["text"],
        ),
        source="t.jsonl",
    )
    assert task == Task(
        id="a",
        prompt="Do it.",
        verifier="true",
        files={"a/b.txt": "hello\n"},
        setup=("touch c",),
        reference=("true", "false"),
        limits=TaskLimits(turns=4, call_s=2.0, trajectory_s=9.5),
        tags=("text",),
    )


def test_what_is_left_out_has_its_documented_default():
    """Thirty turns, thirty seconds a call, five minutes in all."""
    (task,) = parse_tasks(_line(), source="t.jsonl")
    assert (task.limits.turns, task.limits.call_s, task.limits.trajectory_s) == (30, 30.0, 300.0)
    assert (task.files, task.setup, task.reference, task.tags) == ({}, (), (), ())


def test_order_is_kept_and_blank_lines_only_count():
    """Windows line ends and a missing last line feed are no mistakes."""
    data = b"\n" + _line(id="z") + b"\r\n   \n" + _line(id="b")
    assert [task.id for task in parse_tasks(data, source="t.jsonl")] == ["z", "b"]
    assert _problem(b"\n\n" + _line(id="")).line == 3


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "t.jsonl: holds no task"),
        (b" \n\n", "t.jsonl: holds no task"),
        (b"{", "t.jsonl:1: is not valid JSON: unexpected end of data at column 2"),
        (b"[1]", "t.jsonl:1: a task must be an object, not a list"),
        (b"null", "t.jsonl:1: a task must be an object, not null"),
        (b'{"id": "\xff"}', "t.jsonl:1: is not valid UTF-8 at byte 9 of the line"),
        (b"[" * 100_000, "t.jsonl:1: is not valid JSON: depth limit exceeded at column 1026"),
        (b'{"id": "a"}', "t.jsonl:1: field 'prompt': is missing"),
        (_line(colour="red"), "t.jsonl:1: field 'colour': unknown field"),
        (_line(id=7), "t.jsonl:1: field 'id': must be text, not an integer"),
        (_line(prompt=None), "t.jsonl:1: field 'prompt': must be text, not null"),
        (_line(prompt=" \n"), "t.jsonl:1: field 'prompt': must not be empty"),
        (_line(verifier=""), "t.jsonl:1: field 'verifier': must not be empty"),
        (_line(reference="true"), "t.jsonl:1: field 'reference': must be a list, not text"),
        (_line(setup=["a", 1]), "t.jsonl:1: field 'setup': item 1 must be text, not an integer"),
        (_line(files=[]), "t.jsonl:1: field 'files': must be an object, not a list"),
        (_line(files={"a": 1}), "t.jsonl:1: field 'files': entry 'a' must be text, not an integer"),
        (_line(limits=3), "t.jsonl:1: field 'limits': must be an object, not an integer"),
        (_line(limits={"turns": True}), "t.jsonl:1: field 'limits.turns': must be an integer, not a boolean"),
        (_line(limits={"turns": 0}), "t.jsonl:1: field 'limits.turns': must be between 1 and 1000"),
        (
            _line(limits={"call_s": "9"}),
            "t.jsonl:1: field 'limits.call_s': must be a finite number, not text",
        ),
        (_line(limits={"call_s": 0}), "t.jsonl:1: field 'limits.call_s': must be greater than 0"),
        (_line(limits={"call_s": 601}), "t.jsonl:1: field 'limits.call_s': must be at most 600 seconds"),
        (_line(limits={"speed": 1}), "t.jsonl:1: field 'limits.speed': unknown field"),
        (
            _line(limits={"call_s": 9, "trajectory_s": 1}),
            "t.jsonl:1: field 'limits.trajectory_s': must be at least call_s, 9 seconds, not 1",
        ),
        (
            b'{"id": "a", "verifier": "true", "prompt": "x", "verifier": "false"}',
            "t.jsonl:1: field 'verifier': is there twice",
        ),
        (
            _line() + b"\n" + _line(id="b") + b"\n" + _line(),
            "t.jsonl:3: field 'id': 'a' was already used on line 1",
        ),
    ],
    ids=lambda value: value[9:40] if isinstance(value, str) else "",
)
def test_each_mistake_has_one_sentence_with_file_line_and_field(data, text):
    """What is printed is what a person needs to mend it, on one line."""
    problem = _problem(data)
    assert str(problem) == text
    assert problem.source == "t.jsonl"
    assert f"field '{problem.field}'" in text or not problem.field


@pytest.mark.parametrize("task_id", ["", "a b", "-a", ".hidden", "a/b", "ü", "a" * 101, "a\n"])
def test_ids_that_could_not_name_a_trajectory_are_refused(task_id):
    """They stand in file names, in logs and in a line of the prompt."""
    assert _problem(_line(id=task_id)).field == "id"


@pytest.mark.parametrize("path", ["", ".", "/etc/passwd", "../x", "a/../../x", "a/", "a\0b", "x" * 4097])
def test_files_outside_the_workspace_are_refused_before_anything_runs(path):
    """A daemon would refuse them too, but an hour later."""
    assert _problem(_line(files={path: ""})).field == "files"


def test_a_huge_line_is_refused_by_its_size():
    """Nothing of it is parsed."""
    data = _line() + b"\n" + b"x" * (tasks.MAX_LINE_BYTES + 1)
    assert str(_problem(data)) == "t.jsonl:2: the line has 1048577 bytes; a task may have 1048576"


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path):
    """Missing, or a directory: the system's own words."""
    with pytest.raises(
        InvalidInputError, match=r"nowhere\.jsonl: cannot be read: No such file or directory$"
    ):
        read_tasks(tmp_path / "nowhere.jsonl")
    with pytest.raises(InvalidInputError, match=r"cannot be read: Is a directory$"):
        read_tasks(tmp_path)


def test_a_file_without_end_is_refused_by_its_size(monkeypatch: pytest.MonkeyPatch):
    """Reading stops at the limit."""
    monkeypatch.setattr(tasks, "MAX_FILE_BYTES", 1000)
    with pytest.raises(InvalidInputError, match=r"/dev/zero: has more than 1000 bytes$"):
        read_tasks(Path("/dev/zero"))


def test_the_shipped_file_is_there():
    """It is package data, found from the package."""
    assert len(read_tasks(shipped_tasks_path())) >= 44


@pytest.mark.parametrize(
    ("base", "told"),
    [
        ({}, "field 'base': must have 'directory', 'archive' or 'setup'"),
        ({"directory": "a", "archive": "b"}, "field 'base.archive': "),
        ({"setup": "make"}, "field 'base.setup': "),
        ({"setup": ["make"], "limit_s": 601}, "field 'base.limit_s': must be at most 600 seconds"),
        ({"image": "debian"}, "field 'base.image': unknown field"),
        ("repo", "field 'base': "),
    ],
)
def test_a_base_that_cannot_be_is_told_with_its_field(base, told):
    """What it says must make one of three."""
    assert str(_problem(_line(base=base))).startswith(f"t.jsonl:1: {told}")


def test_paths_of_a_base_are_the_task_file_s(tmp_path):
    """Whatever the working directory is; what is not there is told at once."""
    (tmp_path / "repo").mkdir()
    (tmp_path / "repo.tar").touch()
    path = tmp_path / "t.jsonl"
    lines = [_line(base={"directory": "repo"}), _line(id="b", base={"archive": "repo.tar", "setup": ["x"]})]
    path.write_bytes(b"\n".join(lines))
    one, two = read_tasks(path)
    assert one.base == TaskBase(directory=str(tmp_path / "repo"))
    assert two.base == TaskBase(archive=str(tmp_path / "repo.tar"), setup=("x",))
    for wrong in ({"directory": "repo.tar"}, {"archive": "repo"}, {"archive": "no\0"}, {"directory": ""}):
        path.write_bytes(_line() + b"\n" + _line(id="b", base=wrong))
        with pytest.raises(InvalidInputError) as caught:
            read_tasks(path)
        assert str(caught.value).startswith(f"{path}:2: field 'base.{next(iter(wrong))}': ")
