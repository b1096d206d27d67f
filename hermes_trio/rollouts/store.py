"""What a run leaves on disk: ``trajectories.jsonl``, line by line, and ``summary.json``, all at once.

Writes are synchronous. A line is written whole between two checkpoints, so that no cancellation and no
Ctrl-C can tear it; at some tens of kilobytes it costs the loop well under a millisecond.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from io import FileIO
from pathlib import Path
from typing import Any, final

from hermes_trio.errors import InvalidInputError, UnavailableError
from hermes_trio.rollouts.record import TrajectoryRecord

TRAJECTORIES = "trajectories.jsonl"
SUMMARY = "summary.json"


@final
class RunDirectory:
    """See :func:`open_run_directory`."""

    def __init__(self, path: Path, trajectories: FileIO) -> None:
        self.path = path
        self._trajectories = trajectories
        self._is_used = False

    def __repr__(self) -> str:
        return f"<RunDirectory {self.path}>"

    def append(self, record: TrajectoryRecord) -> None:
        """Write one trajectory, whole, before returning.

        Raises:
            UnavailableError: the disk is full, or gone.
        """
        line = record.to_line()
        self._is_used = True
        whole = os.fstat(self._trajectories.fileno()).st_size
        try:
            # Unbuffered: a write may be short, and what was written is with the kernel at once.
            while line:
                line = line[self._trajectories.write(line) :]
        except OSError as error:
            with suppress(OSError):  # of a disk that became full, half a line would be left
                os.truncate(self._trajectories.fileno(), whole)
            raise _cannot_write(self.path / TRAJECTORIES, error) from error

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Write or replace the summary: whoever looks sees the old one or the new one, whole.

        Raises:
            UnavailableError: the disk is full, or gone.
        """
        self._is_used = True
        target = self.path / SUMMARY
        beside = target.with_suffix(".json.part")
        try:
            beside.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
            beside.replace(target)
        except OSError as error:
            raise _cannot_write(target, error) from error

    def remove_if_unused(self) -> None:
        """Leave no empty directory behind for a run that never came to its first trajectory."""
        if not self._is_used:
            (self.path / TRAJECTORIES).unlink(missing_ok=True)
            with suppress(OSError):  # something else is in it, or it was there before and is somebody's cwd
                self.path.rmdir()


def _cannot_write(path: Path, error: OSError) -> UnavailableError:
    return UnavailableError(f"{path} cannot be written: {error.strerror}.", mend="Make room and run again.")


@contextmanager
def open_run_directory(path: Path) -> Iterator[RunDirectory]:
    """Make the directory of a run and open its trajectories file.

    Args:
        path: may exist, but must not hold another run.

    Raises:
        InvalidInputError: it cannot be made, or holds a run already.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        # Exclusively: two runs in one directory would mix their trajectories.
        descriptor = os.open(path / TRAJECTORIES, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o666)
    except FileExistsError as error:
        told = "is not a directory" if not path.is_dir() else "holds the trajectories of another run already"
        raise InvalidInputError(told, source=str(path)) from error
    except OSError as error:
        raise InvalidInputError(f"cannot be written to: {error.strerror}", source=str(path)) from error
    with open(descriptor, "wb", buffering=0) as trajectories:
        directory = RunDirectory(path, trajectories)
        try:
            yield directory
        finally:
            directory.remove_if_unused()


def fresh_directory(parent: Path, *, now: datetime) -> Path:
    """A name for a new run, by its time; with a number behind it when that second has a run already."""
    name = now.strftime("%Y%m%d-%H%M%S")
    candidate, number = parent / name, 1
    while candidate.exists():
        number += 1
        candidate = parent / f"{name}-{number}"
    return candidate
