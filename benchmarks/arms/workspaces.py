"""Workspace directories for the arms that have no daemon of ours: one per trajectory, gone with the arm."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.arms.commands import SLOT_UID_BASE


class Workspaces:
    """Directories handed out in the order in which trajectories first ask."""

    def __init__(self, root: Path, slots: int) -> None:
        self._slots = [self._make(root, index) for index in range(slots)]
        self._taken: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"<Workspaces {len(self._taken)} of {len(self._slots)} taken>"

    @staticmethod
    def _make(root: Path, index: int) -> Path:
        path = root / f"slot_{index}"
        path.mkdir()
        if os.geteuid() == 0:
            os.chown(path, SLOT_UID_BASE + index, SLOT_UID_BASE + index)
        return path

    def of(self, trajectory_id: str) -> tuple[Path, int]:
        """The trajectory's directory and the uid that owns it.

        Raises:
            IndexError: more trajectories than slots.
        """
        index = self._taken.setdefault(trajectory_id, len(self._taken))
        return self._slots[index], SLOT_UID_BASE + index


@contextmanager
def open_workspaces(slots: int) -> Iterator[Workspaces]:
    """Makes the directories, and removes them with all that is in them."""
    with tempfile.TemporaryDirectory(prefix="hermes-trio-bench-") as name:
        # The slots' own uids walk through it; what lies beside them they cannot list.
        Path(name).chmod(0o711)
        yield Workspaces(Path(name), slots)
