"""The shipped tasks, each with plain bash in a directory: no daemon, no sandbox, some twenty seconds for all.

What the sandbox would add is checked by the main job; here it is the tasks themselves: a verifier that
says yes to an untouched workspace, or no to the reference, makes every figure of a run a lie.
"""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from hermes_trio.rollouts.tasks import Task, read_tasks, shipped_tasks_path

TASKS = read_tasks(shipped_tasks_path())

# What a slot gives a command, as far as a directory can stand in for it.
CLEAN = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}


class Workspace:
    """A directory that stands in for a slot: files and set-up done, commands run by bash."""

    def __init__(self, task: Task, root: Path) -> None:
        self.root = root
        for path, text in task.files.items():
            target = root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
        for command in task.setup:
            assert self.run(command).returncode == 0, command

    def run(self, command: str) -> subprocess.CompletedProcess[bytes]:
        """One command, as a slot runs it."""
        return subprocess.run(
            ["/bin/bash", "-c", command],
            cwd=self.root,
            env=CLEAN | {"HOME": os.fspath(self.root)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=30,
        )


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.id)
def test_verifier_refuses_the_untouched_workspace_and_takes_the_reference(task: Task, tmp_path: Path) -> None:
    """Before the reference the verifier fails; after it it passes, and a second time too."""
    root = tmp_path / "a directory"
    root.mkdir()
    workspace = Workspace(task, root)
    assert workspace.run(task.verifier).returncode != 0
    for command in task.reference:
        done = workspace.run(command)
    for _ in range(2):
        verdict = workspace.run(task.verifier)
        assert verdict.returncode == 0, (done.stderr, verdict.stderr)


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.id)
def test_verifier_refuses_empty_answers(task: Task, tmp_path: Path) -> None:
    """Emptying every file that the reference made or changed is not a solution."""
    workspace = Workspace(task, tmp_path)
    before = _contents(tmp_path)
    for command in task.reference:
        workspace.run(command)
    made = [path for path, content in _contents(tmp_path).items() if before.get(path) != content]
    for path in made:
        path.chmod(0o600)
        path.write_bytes(b"")
    if made:
        assert workspace.run(task.verifier).returncode != 0


def _contents(root: Path) -> dict[Path, bytes]:
    files = [path for path in root.rglob("*") if path.is_file() and not path.is_symlink()]
    return {path: path.read_bytes() for path in files if ".git" not in path.parts}


def test_there_are_enough_and_they_are_various() -> None:
    """At least 44 tasks, of many kinds, each solvable in one to five commands."""
    assert len(TASKS) >= 44
    assert len(Counter(task.tags[0] for task in TASKS)) >= 15
    assert all(1 <= len(task.reference) <= 5 for task in TASKS)


def test_no_task_leans_on_the_world_outside_its_workspace() -> None:
    """No network, no home directory of a person, no sleeping for long, no package manager."""
    for task in TASKS:
        for command in (*task.setup, *task.reference, task.verifier):
            assert not {"curl", "wget", "sudo", "apt-get", "/workspace", "/home/", "jq"} & set(
                command.split()
            )
