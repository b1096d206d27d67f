"""The shell's verbs against a running console: what they print, and how they exit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
from starlette.applications import Starlette

from hermes_trio.console.hub import open_console_hub
from hermes_trio.console.routes import console_routes
from hermes_trio.executor.executor import Executor, open_executor
from hermes_trio.link.asgi import serve_asgi
from hermes_trio.link.auth import TokenGate
from hermes_trio.link.background import open_background_nursery
from hermes_trio.testing.fake_daemon import FakeDaemon
from hermes_trio.testing.memory_backend import MemoryBackend
from hermes_trio.tools.calls import ToolCall

TOKEN = "open-sesame"

pytestmark = pytest.mark.slow


@asynccontextmanager
async def _served() -> AsyncIterator[tuple[str, Executor]]:
    backend = MemoryBackend({"d": FakeDaemon(slots=4)})
    async with (
        open_executor(backend) as executor,
        open_console_hub(executor, name="test") as hub,
        open_background_nursery() as nursery,
    ):
        app = Starlette(routes=console_routes(hub, gate=TokenGate([TOKEN])))
        yield await nursery.start(partial(serve_asgi, app)), executor


async def _run(url: str, *words: str, token: str | None = TOKEN) -> subprocess.CompletedProcess[bytes]:
    environment = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}
    environment |= {"HERMES_TRIO_URL": url, "COLUMNS": "160", "PATH": "/usr/bin:/bin"}
    if token is not None:
        environment["TOOL_EXECUTOR_TOKEN"] = token
    with trio.fail_after(30):
        return await trio.run_process(
            [sys.executable, "-m", "hermes_trio", *words],
            env=environment,
            capture_stdout=True,
            capture_stderr=True,
            check=False,
        )


async def _sleep(executor: Executor, trajectory: str, ended: list[str]) -> None:
    call = ToolCall(name="bash", arguments={"command": "sleep 300"})
    ended.append((await executor.execute(trajectory, call, limit_s=600.0)).provenance)


async def test_what_is_alive_is_listed_and_ended() -> None:
    """Trajectories, calls, slots, daemons; one call, then a trajectory; then a daemon is drained."""
    ended = list[str]()
    async with _served() as (url, executor), trio.open_nursery() as nursery:
        for name in ("one", "two"):
            nursery.start_soon(_sleep, executor, name, ended)
        listed = json.loads((await _run(url, "ls", "--json")).stdout)
        assert {each["id"] for each in listed} == {"one", "two"}
        calls = json.loads((await _run(url, "ls", "calls", "--json")).stdout)
        assert {each["summary"] for each in calls} == {"sleep 300"}
        assert b"leased" in (await _run(url, "ls", "slots")).stdout
        first = next(each["number"] for each in calls if each["trajectory"] == "one")
        assert (await _run(url, "cancel", "--call", str(first))).returncode == 0
        told = await _run(url, "cancel", "two", "--json")
        assert json.loads(told.stdout) == {"trajectory": "two"}
        with trio.fail_after(10):
            while len(ended) < 2:  # noqa: ASYNC110 - two calls, of other tasks
                await trio.sleep(0.01)
        assert ended == ["cancelled", "cancelled"]
        assert b"no new trajectories" in (await _run(url, "drain", "d")).stdout
        assert b"draining" in (await _run(url, "ls", "daemons")).stdout


async def test_what_happens_is_followed() -> None:
    """Events, the table and the whole screen, each for a while."""
    async with _served() as (url, executor), trio.open_nursery() as nursery:

        async def work() -> None:
            while True:
                await executor.execute("busy", ToolCall(name="bash", arguments={"command": "echo hi"}))
                await trio.sleep(0.05)

        nursery.start_soon(work)
        logs = (await _run(url, "logs", "busy", "--json", "--count", "3")).stdout.splitlines()
        assert [json.loads(line)["trajectory"] for line in logs] == ["busy"] * 3
        assert b"call_queued" in (await _run(url, "logs", "--count", "8")).stdout
        for verb in ("console", "top"):
            assert b"busy" in (await _run(url, verb, url, "--count", "1")).stdout
        snapshot = json.loads((await _run(url, "top", "--json", "--count", "1")).stdout.splitlines()[-1])
        assert snapshot["trajectories"][0]["id"] == "busy"
        nursery.cancel_scope.cancel()


async def test_what_cannot_be_done_is_one_line(tmp_path: Path) -> None:
    """2: no such thing; 3: nobody there, or the token is wrong. Never a traceback."""
    wrong = tmp_path / "token"
    wrong.write_text("wrong\n")
    async with _served() as (url, _):
        cases = [
            (("cancel", "nobody"), TOKEN, 2, b"nobody is not alive"),
            (("drain", "x"), TOKEN, 2, b"no daemon x"),
            (("cancel",), TOKEN, 2, b"required"),
            (("ls",), None, 3, b"A token is needed"),
            (("ls", "--token-file", str(wrong)), TOKEN, 3, b"The token was refused"),
            (("ls", "--url", "http://127.0.0.1:1"), TOKEN, 3, b"Nobody answers"),
            (("ls", "--url", "nonsense"), TOKEN, 2, b"begins with http"),
        ]
        for words, token, code, said in cases:
            run = await _run(url, *words, token=token)
            assert (run.returncode, said in run.stderr) == (code, True), (words, run.stderr)
            assert len(run.stderr.splitlines()) == 1
