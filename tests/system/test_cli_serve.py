"""`hermes-trio serve` as the program it is: says where it listens, serves, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import trio

pytestmark = pytest.mark.slow


def serve(*words: str) -> list[str]:
    """The command."""
    return [sys.executable, "-m", "hermes_trio", "serve", *words]


async def test_it_serves_until_it_is_told_to_stop(tmp_path: Path) -> None:
    """One line says where; SIGTERM drains, and the daemons are gone."""
    token = tmp_path / "token"
    token.write_text("s3cret\n")
    words = ["--port", "0", "--slots", "2", "--json", "--token-file", str(token)]
    process = await trio.lowlevel.open_process(serve(*words), stdout=subprocess.PIPE)
    assert process.stdout is not None
    with trio.fail_after(60), ended_at_last(process):
        told = json.loads(await process.stdout.receive_some())
        assert told["pid"] == process.pid
        headers = {"authorization": "Bearer s3cret"}
        async with httpx.AsyncClient(base_url=told["url"], headers=headers, timeout=30) as client:
            call = {"trajectory_id": "t", "tool": {"name": "bash", "arguments": {"command": "echo hi"}}}
            assert (await client.post("/execute", json=call)).json()["output"] == "hi"
            assert (await client.get("/console")).status_code == 200
        children = await trio.to_thread.run_sync(children_of, process.pid)
        assert children
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 143
    assert not living(children)


@contextmanager
def ended_at_last(process: trio.Process) -> Iterator[None]:
    """A test that fails leaves no server behind: its daemons end with it."""
    try:
        yield
    finally:
        if process.poll() is None:
            process.terminate()


def children_of(pid: int) -> list[int]:
    """The processes that it started."""
    told = [each.read_text() for each in Path(f"/proc/{pid}/task").glob("*/children")]
    return [int(each) for each in " ".join(told).split()]


def living(pids: list[int]) -> list[int]:
    """Those of them that are there."""
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


@pytest.mark.parametrize(
    ("words", "environment", "told"),
    [
        (["--host", "0.0.0.0"], {}, "needs a token"),
        (["--port", "70000"], {}, "--port"),
        (["--token-file", "/nowhere"], {}, "/nowhere"),
        (["--backend", "static"], {}, "--daemon-url"),
        (["--daemon-url", "ws://127.0.0.1:1"], {}, "--daemon-url"),
        ([], {"TOOL_EXECUTOR_SLOTS": "many"}, "TOOL_EXECUTOR_SLOTS"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(words: list[str], environment: dict[str, str], told: str) -> None:
    """Exit code 2, and the option or variable."""
    ended = subprocess.run(
        serve(*words),
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2
    assert told in ended.stderr
    assert ended.stderr.count("\n") == 1
