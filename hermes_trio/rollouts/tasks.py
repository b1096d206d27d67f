"""The task file: one JSON object a line, one task an object. PURE but for :func:`read_tasks`.

Its reference page is ``docs/reference/task-file.md``. Reading is strict and coerces nothing: ``"9"`` is not a
number, ``true`` is not 1, an unknown field is a mistake. Whatever is wrong ends as one
:class:`~hermes_trio.errors.InvalidInputError` that names the file, the line and the field. A file is read
whole before anything runs, so that a typo in its last line costs a second and not an hour of rollouts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

import orjson
from attrs import evolve, field, frozen

from hermes_trio.errors import InvalidInputError
from hermes_trio.wire.codec import structure_arguments
from hermes_trio.wire.ranges import Between, PositiveSeconds
from hermes_trio.wire.strict import kind_of

MAX_FILE_BYTES = 64 * 1024 * 1024
"""Of a task file. Tasks are held in memory whole; 64 MiB are some 50,000 of the shipped ones."""

MAX_LINE_BYTES = 1024 * 1024
"""Of one task. The files of a task ride in its line, and ``write_file`` takes at most 100,000 bytes each."""

MAX_CALL_LIMIT_S = 600.0
"""The longest a single call may be allowed: the executor's clamp."""

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_MAX_PATH_BYTES = 4096


@frozen(kw_only=True)
class TaskLimits:
    """How long a trajectory of the task may go on. A tree: no call outlives its trajectory.

    Args:
        turns: model calls, 1 to 1000.
        call_s: seconds for one tool call, set-up and verifier commands each included; at most 600.
        trajectory_s: seconds from the first to the last call of a trajectory, waiting for a slot excluded.
    """

    turns: Annotated[int, Between(1, 1000)] = 30
    call_s: PositiveSeconds = 30.0
    trajectory_s: PositiveSeconds = 300.0

    def __attrs_post_init__(self) -> None:
        if self.call_s > MAX_CALL_LIMIT_S:
            raise InvalidInputError(f"must be at most {MAX_CALL_LIMIT_S:g} seconds", field="limits.call_s")
        if self.trajectory_s < self.call_s:
            raise InvalidInputError(
                f"must be at least call_s, {self.call_s:g} seconds, not {self.trajectory_s:g}",
                field="limits.trajectory_s",
            )


@frozen(kw_only=True)
class TaskBase:
    """What a task's workspace begins with; built once on each daemon, and shared by all who begin with it.

    Args:
        directory: a folder whose content it is; relative to the task file's.
        archive: a tar file, compressed or not, with that content; likewise.
        setup: shell commands that run on it, before it is shared.
        limit_s: seconds for each of them; at most 600.
    """

    directory: str | None = None
    archive: str | None = None
    setup: tuple[str, ...] = ()
    limit_s: PositiveSeconds = MAX_CALL_LIMIT_S

    def __attrs_post_init__(self) -> None:
        if self.directory is not None and self.archive is not None:
            raise InvalidInputError(
                "is there beside 'directory'; a base has one of them", field="base.archive"
            )
        if self.directory is None and self.archive is None and not self.setup:
            raise InvalidInputError("must have 'directory', 'archive' or 'setup'", field="base")
        if self.limit_s > MAX_CALL_LIMIT_S:
            raise InvalidInputError(f"must be at most {MAX_CALL_LIMIT_S:g} seconds", field="base.limit_s")

    def beside(self, folder: Path) -> TaskBase:
        """The same with paths that are right from everywhere, if there is what they name.

        Raises:
            InvalidInputError: there is not; ``field`` names the path.
        """
        directory = _checked(folder, self.directory, "base.directory", Path.is_dir, "is no directory here")
        archive = _checked(folder, self.archive, "base.archive", Path.is_file, "is no file here")
        return evolve(self, directory=directory, archive=archive)


def _checked(
    folder: Path, path: str | None, field: str, is_right: Callable[[Path], bool], otherwise: str
) -> str | None:
    if path is None:
        return None
    if not path or "\0" in path or not is_right(folder / path):
        raise InvalidInputError(f"{path[:120]!r} {otherwise}", field=field)
    return str((folder / path).absolute())


@frozen(kw_only=True)
class Task:
    """One thing to solve in a slot, and how to tell whether it was.

    Args:
        id: unique in its file: letters, digits, ``.``, ``_``, ``-``, at most 100.
        prompt: what the model is asked to do.
        verifier: shell command that runs in the slot after ``quiesce``; exit status 0 means solved.
        reference: shell commands that solve it, for scripted models and for checking the verifier.
        base: what the workspace begins with, see :class:`TaskBase`; ``None``: nothing.
        files: workspace-relative path to text, written before anything runs.
        setup: shell commands that run after ``files`` and before the model's first turn.
        limits: see :class:`TaskLimits`.
        tags: free words to select and count by.

    Raises:
        InvalidInputError: a value cannot be used; ``field`` names it.
    """

    id: str
    prompt: str
    verifier: str
    reference: tuple[str, ...] = ()
    base: TaskBase | None = None
    files: Mapping[str, str] = field(factory=dict)
    setup: tuple[str, ...] = ()
    limits: TaskLimits = field(factory=TaskLimits)
    tags: tuple[str, ...] = ()

    def __attrs_post_init__(self) -> None:
        if not _ID.fullmatch(self.id):
            rule = "must be 1 to 100 letters, digits, '.', '_' or '-', the first a letter or digit"
            raise InvalidInputError(rule, field="id")
        for name, text in (("prompt", self.prompt), ("verifier", self.verifier)):
            if not text.strip():
                raise InvalidInputError("must not be empty", field=name)
        for path in self.files:
            _check_path(path)


def _check_path(path: str) -> None:
    """Refuse what cannot be a file inside a workspace, before a daemon has to."""
    parts = PurePosixPath(path).parts
    if not parts or path.endswith("/") or "\0" in path or len(path.encode()) > _MAX_PATH_BYTES:
        raise InvalidInputError(f"{path[:120]!r} is not the path of a file", field="files")
    if path.startswith("/") or ".." in parts:
        raise InvalidInputError(f"{path[:120]!r} is not a path inside the workspace", field="files")


def parse_tasks(
    data: bytes, *, source: str, settle: Callable[[Task], Task] = lambda task: task
) -> tuple[Task, ...]:
    """Read the text of a task file: the same bytes always give the same tasks or the same error.

    Blank lines are skipped and still count as lines.

    Args:
        data: the whole file, UTF-8.
        source: what to call it in errors, usually its path.
        settle: has the last word on each task; what it refuses is told with its line.

    Returns:
        The tasks in the file's order, at least one, their ids distinct.

    Raises:
        InvalidInputError: anything is wrong; it names the line and, where it is about one, the field.
    """
    tasks: list[Task] = []
    line_of: dict[str, int] = {}
    for number, line in _lines(data):
        try:
            task = _parse_task(line)
            _check_new(task.id, number, line_of)
            task = settle(task)
        except InvalidInputError as problem:
            raise _located(problem, source=source, line=number) from None
        tasks.append(task)
    if not tasks:
        raise InvalidInputError("holds no task", source=source)
    return tuple(tasks)


def _lines(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Lines end with a line feed and nothing else: U+2028 inside a prompt is text."""
    for number, line in enumerate(data.split(b"\n"), start=1):
        if line.strip():
            yield number, line


def _check_new(task_id: str, number: int, line_of: dict[str, int]) -> None:
    first = line_of.setdefault(task_id, number)
    if first != number:
        raise InvalidInputError(f"{task_id!r} was already used on line {first}", field="id")


def _located(problem: InvalidInputError, *, source: str, line: int) -> InvalidInputError:
    """The same problem, said of a place in a file. Its text names the field already."""
    located = InvalidInputError(str(problem), source=source, line=line)
    located.field = problem.field
    return located


def _parse_task(line: bytes) -> Task:
    if len(line) > MAX_LINE_BYTES:
        raise InvalidInputError(f"the line has {len(line)} bytes; a task may have {MAX_LINE_BYTES}")
    try:
        document = orjson.loads(line.decode())
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"is not valid UTF-8 at byte {error.start + 1} of the line") from error
    except orjson.JSONDecodeError as error:
        raise InvalidInputError(f"is not valid JSON: {error.msg} at column {error.colno}") from error
    if type(document) is not dict:
        raise InvalidInputError(f"a task must be an object, not {kind_of(document)}")
    task = structure_arguments(Task, document)
    # Last: what has a task's structure has no depth that the standard library's parser would mind.
    _check_names(line)
    return task


def _check_names(line: bytes) -> None:
    """Of two members of one name orjson keeps the last, in silence; a person meant something by both."""

    def collect(members: list[tuple[str, Any]]) -> None:
        names = [name for name, _ in members]
        doubled = next((name for name in names if names.count(name) > 1), None)
        if doubled is not None:
            raise InvalidInputError("is there twice", field=doubled)

    json.loads(line, object_pairs_hook=collect)


def read_tasks(path: Path) -> tuple[Task, ...]:
    """Read and check a whole task file.

    Args:
        path: a JSONL file.

    Returns:
        See :func:`parse_tasks`.

    Raises:
        InvalidInputError: it cannot be read, or not be parsed.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise InvalidInputError(f"cannot be read: {error.strerror}", source=str(path)) from error
    if len(data) > MAX_FILE_BYTES:
        raise InvalidInputError(f"has more than {MAX_FILE_BYTES} bytes", source=str(path))

    def settle(task: Task) -> Task:
        return task if task.base is None else evolve(task, base=task.base.beside(path.parent))

    return parse_tasks(data, source=str(path), settle=settle)


def shipped_tasks_path() -> Path:
    """Where the task file that ships with the package lies."""
    return Path(__file__).resolve().parent.parent / "data" / "tasks" / "terminal.jsonl"
