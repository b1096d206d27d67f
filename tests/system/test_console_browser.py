"""The console in a real browser, against `hermes-trio serve` with real sandboxes under load.

The browser is driven by a program of Node.js (``hermes_trio/console/web/browser/drive.mjs``), because that is
what its packages are for. Where Node.js, Chromium or the packages are missing, ``scripts/console.sh setup``
brings them.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from attrs import frozen

from hermes_trio.console.client import open_console_client

ROOT = Path(__file__).resolve().parents[2]
WEB = ROOT / "hermes_trio" / "console" / "web"
TOKEN = "sesame-opens-7"
MARK = "86401.25"
"""Seconds that nobody else sleeps: so the process is found."""

COMMANDS = (
    "echo hi; ls -la /",
    "sleep 0.3; date",
    "grep -r root /etc/passwd",
    "python3 -c 'print(sum(range(10**6)))'",
    "seq 1 2000 | sort -R | head -3",
    "sleep 4; echo done",
    "cat nothing-there",
)


def _lacking() -> str:
    """What the tests need and this machine has not."""
    programs = [name for name in ("node", "npm", "chromium") if shutil.which(name) is None]
    if programs:
        return f"no {', '.join(programs)}: scripts/console.sh setup installs them"
    if not (WEB / "node_modules" / "playwright-core").is_dir():
        return "no npm packages: scripts/console.sh setup brings them"
    return ""


needs_browser = pytest.mark.skipif(_lacking() != "", reason=_lacking() or "a browser is there")


@needs_browser
@pytest.mark.slow
def test_the_committed_page_is_what_its_sources_give() -> None:
    """Byte by byte; and the types hold."""
    run = subprocess.run(
        ["bash", ROOT / "scripts" / "console.sh", "check"], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr


@frozen
class Served:
    """A server under load."""

    url: str
    client: httpx.AsyncClient

    async def execute(self, trajectory: str, command: str, *, limit_s: float = 60.0) -> dict[str, Any]:
        """One call, over HTTP."""
        tool = {"name": "bash", "arguments": {"command": command}, "uniq_id": f"u{random.random()}"}
        body = {"trajectory_id": trajectory, "tool": tool, "timeout_s": limit_s}
        response = await self.client.post("/execute", json=body)
        told: dict[str, Any] = response.json()
        return told


@asynccontextmanager
async def _served(tmp_path: Path) -> AsyncIterator[Served]:
    token_file = tmp_path / "token"
    token_file.write_text(TOKEN)
    command = [ROOT / ".venv" / "bin" / "hermes-trio", "serve", "--port", "0", "--slots", "16"]
    command += ["--daemons", "2", "--token-file", token_file, "--json"]
    with (tmp_path / "serve.log").open("wb") as log:
        process = await trio.lowlevel.open_process(
            [str(word) for word in command], stdout=subprocess.PIPE, stderr=log
        )
    try:
        assert process.stdout is not None
        with trio.fail_after(30):
            line = await process.stdout.receive_some()
        url = json.loads(line)["url"]
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=120) as client:
            yield Served(url, client)
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 30):
            process.terminate()
            await process.wait()


async def _work(served: Served, number: int, enough: trio.Event) -> None:
    """A trajectory after the other."""
    dice = random.Random(number)
    for generation in itertools.count():
        trajectory = f"task-{number:03d}-{generation}"
        for _ in range(dice.randrange(6, 30)):
            if enough.is_set():
                return
            await served.execute(trajectory, dice.choice(COMMANDS))
            await trio.sleep(dice.random())
        await served.client.post("/release", json={"trajectory_id": trajectory, "reset_workspace": True})


def _processes() -> Iterator[str]:
    """Command lines of everything that runs on this machine."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue


def _is_running() -> bool:
    return any(f"sleep {MARK}" in line and "drive.mjs" not in line for line in _processes())


def _cast(tmp_path: Path) -> Path:
    """A recording of a session."""
    path = tmp_path / "session.cast"
    lines = [[0.1, "o", "$ echo typed-$((20+22))\r\n"], [0.4, "o", "typed-42\r\n$ "], [2.0, "o", "exit\r\n"]]
    header = {"version": 2, "width": 80, "height": 24}
    path.write_text("\n".join(json.dumps(each) for each in (header, *lines)) + "\n")
    return path


def _pictures(tmp_path: Path) -> Path:
    folder = Path(os.environ.get("HERMES_TRIO_SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


async def _drive(served: Served, tmp_path: Path, *, terminal: str) -> dict[str, Any]:
    pictures = _pictures(tmp_path)
    options = {
        "token": TOKEN,
        "chromium": shutil.which("chromium"),
        "screenshots": pictures,
        "trajectory": "stuck-one",
        "cast": _cast(tmp_path),
        "terminal": terminal,
    }
    words = [f"{name}={value}" for name, value in options.items() if value]
    with trio.fail_after(300):
        run = await trio.run_process(
            ["node", WEB / "browser" / "drive.mjs", served.url, *words], capture_stdout=True, check=False
        )
    seen: dict[str, Any] = json.loads(run.stdout)
    return seen


@needs_browser
@pytest.mark.alone
@pytest.mark.slow
async def test_a_person_sees_what_runs_and_ends_it(tmp_path: Path) -> None:
    """The tree changes, a waterfall opens, a call is cancelled and its process is gone, a recording plays."""
    answers, enough = [], trio.Event()
    async with _served(tmp_path) as served, trio.open_nursery() as nursery:

        async def get_stuck() -> None:
            for command in COMMANDS[:5] * 2:
                await served.execute("stuck-one", command)
            answers.append(await served.execute("stuck-one", f"sleep {MARK}", limit_s=600))

        # What is over is remembered from the moment on that somebody watches.
        async with open_console_client(served.url, token=TOKEN) as client:
            assert "terminal" in client.welcome["features"]
            nursery.start_soon(get_stuck)
            for number in range(12):
                nursery.start_soon(_work, served, number, enough)
            with trio.fail_after(120):
                while not _is_running():  # noqa: ASYNC110 - a process of somebody else
                    await trio.sleep(0.1)
        seen = await _drive(served, tmp_path, terminal="stuck-one")
        assert "failed" not in seen, seen["failed"]
        assert seen["serious"] == []
        assert seen["levels"] == ["trajectory", "turn", "call", "daemon", "slot", "process"]
        assert "wait_ended" in seen["stack"]
        assert seen["tree_changes"]
        assert seen["bars"] > 0
        assert seen["keyboard"]
        assert seen["replayed"]
        assert seen["recorded"]
        assert "typed-42" in seen["typed"]
        with trio.fail_after(10):
            while not answers:  # noqa: ASYNC110 - the answer comes over HTTP
                await trio.sleep(0.05)
        assert not answers[0]["success"]
        assert not _is_running()
        enough.set()
