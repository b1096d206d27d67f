"""Bases of tasks in a run: real daemons, real sandboxes; a folder, an archive, a set-up script."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

import hermes_trio as ht
from hermes_trio.rollouts.bases import TaskBases
from hermes_trio.rollouts.tasks import TaskBase

pytestmark = [pytest.mark.bubblewrap, pytest.mark.slow]

LOOK = "cat repo/a.txt; readlink repo/link; stat -c %a repo/run.sh; cat built"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What a base is made of, as a folder and as an archive of it."""
    repo = tmp_path / "tree" / "repo"
    repo.mkdir(parents=True)
    (repo / "a.txt").write_text("from the folder\n")
    (repo / "link").symlink_to("a.txt")
    (repo / "run.sh").write_text("#!/bin/sh\n")
    (repo / "run.sh").chmod(0o755)
    with tarfile.open(tmp_path / "tree.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "tree", arcname=".")
    return tmp_path


def run(folder: Path, *words: str, **task: Any) -> subprocess.CompletedProcess[str]:
    """The program with one task, whose file lies beside what its base is made of."""
    document = {"id": "t", "prompt": "p", "reference": ["true"], **task}
    (folder / "t.jsonl").write_text(json.dumps(document) + "\n")
    return subprocess.run(
        [sys.executable, "-m", "hermes_trio", "run", "t.jsonl", "--out", "out", "--quiet", *words],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=180,
    )


def verified(folder: Path) -> list[str]:
    """What the verifiers printed."""
    lines = (folder / "out" / "trajectories.jsonl").read_text().splitlines()
    return [json.loads(line)["verifier_output"] for line in lines]


@pytest.mark.parametrize("source", [{"directory": "tree"}, {"archive": "tree.tar.gz"}])
@pytest.mark.parametrize("daemons", [1, 2])
def test_a_base_is_built_once_on_each_daemon_and_shared(
    folder: Path, source: dict[str, str], daemons: int
) -> None:
    """Whoever needs it first builds it; what one trajectory writes there the next does not see."""
    base = source | {"setup": ["head -c 16 /dev/urandom | od -An -tx1 > built", "echo more >> built"]}
    done = run(
        folder,
        *("--slots", "2", "--daemons", str(daemons), "--group-size", "8"),
        base=base,
        reference=["test ! -e mine && touch mine && echo spoilt > repo/a.txt"],
        verifier="test -e mine && git --version > /dev/null; test -e mine && cat built; readlink repo/link",
    )
    assert done.returncode == 0, (done.stdout, done.stderr)
    printed = verified(folder)
    assert len(printed) == 8
    assert all("more" in text and "a.txt" in text for text in printed)
    assert 1 <= len(set(printed)) <= daemons


def test_a_script_alone_is_a_base_and_one_that_fails_is_the_task_s(folder: Path) -> None:
    """It runs once for all of the group: nobody tries again what will fail again."""
    done = run(folder, "--slots", "2", "--group-size", "3", base={"setup": ["echo hi > f"]}, verifier="cat f")
    assert done.returncode == 0, (done.stdout, done.stderr)
    done = run(
        folder,
        *("--slots", "2", "--group-size", "3", "--out", "failed", "--json"),
        base={"setup": ["true", "echo no such package; exit 7"]},
        verifier="true",
    )
    summary = json.loads(done.stdout)
    assert summary["outcomes"] == {"task_error": 3}
    assert "base.setup, command 2" in summary["failures"][0]["error"]
    assert "no such package" in summary["failures"][0]["error"]


@pytest.mark.parametrize(
    ("base", "told"),
    [
        ({"directory": "nowhere"}, "t.jsonl:1: field 'base.directory': 'nowhere' is no directory here"),
        ({"archive": "tree"}, "t.jsonl:1: field 'base.archive': 'tree' is no file here"),
    ],
)
def test_what_is_not_there_is_told_before_anything_runs(
    folder: Path, base: dict[str, str], told: str
) -> None:
    """With file, line and field."""
    done = run(folder, base=base, verifier="true")
    assert done.returncode == 2
    assert done.stderr == f"hermes-trio: {told}\n"


async def test_a_base_that_was_removed_is_built_again(folder: Path) -> None:
    """The daemon removes the least recently used; a run that needs one again does not fail for that."""
    base = TaskBase(directory=str(folder / "tree"), setup=("echo x > built",))
    async with (
        ht.open_local_backend(slots=2) as backend,
        ht.open_executor(backend, config=ht.ExecutorConfig()) as executor,
    ):
        bases = TaskBases(executor)
        call = ht.ToolCall(name="bash", arguments={"command": "true"})
        for name in ("one", "two"):
            await executor.execute(name, call)
        await bases.begin("one", base)
        [built] = (await executor.bases("one")).names
        await executor.release("one")
        await executor.execute("one", call)
        await executor.remove_base("two", built)
        await bases.begin("two", base)
        look = ht.ToolCall(name="bash", arguments={"command": LOOK})
        assert (await executor.execute("two", look)).output.split() == [
            *("from", "the", "folder", "a.txt", "755", "x")
        ]
        assert len((await executor.bases("one")).names) == 1
        assert repr(bases) == "<TaskBases 1 built>"
