"""Kill, or stop, an executor that holds every slot: all are free and clean within ``lease_grace_s`` + 2 s."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

import hermes_trio as ht
from benchmarks.chaos.stage import QUICK, FigureSet
from hermes_trio.backends.process import open_daemon_process

TOKEN = "chaos-chaos-chaos-chaos-chaos-chaos"

HOLDER = """
import sys, trio, hermes_trio as ht
async def main():
    url, token, slots = sys.argv[1], sys.argv[2], int(sys.argv[3])
    config = ht.ExecutorConfig(allow_network=False, heartbeat_s=0.5, dead_after_s=2)
    async with ht.open_static_backend([url], token=token) as backend, ht.open_executor(
        backend, config=config) as executor:
        async def hold(name):
            call = ht.ToolCall("bash", {"command": "echo held > f"})
            assert (await executor.execute(name, call)).success
            print("held", flush=True)
            while True:
                call = ht.ToolCall("bash", {"command": "setsid sleep 100 & sleep 100"})
                result = await executor.execute(name, call, limit_s=120)
                print("ended", result.provenance, flush=True)
                if not result.success:
                    return
        async with trio.open_nursery() as nursery:
            for number in range(slots):
                nursery.start_soon(hold, f"t{number}")
trio.run(main)
"""


@asynccontextmanager
async def open_daemon(slots: int, *, lease_grace_s: float, isolation: str = "auto") -> AsyncIterator[str]:
    """A daemon of our own; yields its URL."""
    with tempfile.TemporaryDirectory(prefix="chaos-", dir="/var/tmp") as folder:
        os.chmod(folder, 0o755)
        token_file = Path(folder) / "token"
        token_file.write_text(TOKEN)
        argv = [sys.executable, "-m", "sandbox_daemon", "--slots", str(slots), "--isolation", isolation]
        argv += ["--data-dir", f"{folder}/data", "--token-file", str(token_file), "--exit-with-stdin"]
        argv += ["--lease-grace-s", str(lease_grace_s), "--heartbeat-s", "0.5", "--dead-after-s", "2"]
        async with open_daemon_process(argv, start_limit_s=120, stop_grace_s=20) as daemon:
            yield daemon.ready.url


def available(url: str) -> int:
    """Slots that are free and clean, as the daemon's health report has it."""
    with urllib.request.urlopen(url.replace("ws://", "http://") + "/health", timeout=5) as answer:
        return int(json.load(answer)["available"])


async def run(*, slots: int, lease_grace_s: float = 2.0) -> FigureSet:
    """SIGKILL first; then SIGSTOP past the lease, and SIGCONT."""
    figures: dict[str, float] = {"slots": slots, "lease_grace_s": lease_grace_s}
    problems: list[str] = []
    async with open_daemon(slots, lease_grace_s=lease_grace_s) as url:
        with _holder(url, slots) as holder:
            await trio.to_thread.run_sync(_wait_held, holder, slots)
            holder.kill()
            figures["free_after_kill_s"] = await _until_free(url, slots)
        if figures["free_after_kill_s"] > lease_grace_s + 2:
            problems.append(f"slots came back {figures['free_after_kill_s']} s after the kill")
        with _holder(url, slots) as holder:
            await trio.to_thread.run_sync(_wait_held, holder, slots)
            holder.send_signal(signal.SIGSTOP)
            # Its link looks alive: it is lost by silence, after 2 s, and only then the grace begins.
            figures["free_after_stop_s"] = await _until_free(url, slots)
            problems += await _others_get_all(url, slots)
            holder.send_signal(signal.SIGCONT)
            told = await trio.to_thread.run_sync(_wait_ended, holder, slots)
            figures["told_sandbox_lost"] = told.count("ended sandbox_lost")
            holder.kill()
        if figures["told_sandbox_lost"] != slots:
            problems.append(f"an executor that was stopped past its leases was told {set(told)}")
    return FigureSet("leases", dict(figures), problems=tuple(problems))


def _holder(url: str, slots: int) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", HOLDER, url, TOKEN, str(slots)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def _wait_held(holder: subprocess.Popen[str], slots: int) -> None:
    assert holder.stdout is not None
    for _ in range(slots):
        assert holder.stdout.readline() == "held\n"
    time.sleep(0.5)  # until the long commands run


def _wait_ended(holder: subprocess.Popen[str], slots: int) -> list[str]:
    assert holder.stdout is not None
    return [holder.stdout.readline().strip() for _ in range(slots)]


async def _until_free(url: str, slots: int) -> float:
    began = time.monotonic()
    while await trio.to_thread.run_sync(available, url) < slots:  # noqa: ASYNC110 - as an operator would
        await trio.sleep(0.05)
    return round(time.monotonic() - began, 2)


async def _others_get_all(url: str, slots: int) -> list[str]:
    """While the first holder sleeps, somebody else has every slot, empty."""
    problems = []
    async with (
        ht.open_static_backend([url], token=TOKEN) as backend,
        ht.open_executor(backend, config=QUICK) as executor,
    ):

        async def look(name: str) -> None:
            result = await executor.execute(name, ht.ToolCall("bash", {"command": "ls -A"}))
            if (result.success, result.output) != (True, ""):
                problems.append(
                    f"a slot of a stopped executor was not clean: {result.error} {result.output!r}"
                )

        async with trio.open_nursery() as nursery:
            for number in range(slots):
                nursery.start_soon(look, f"other-{number}")
    return problems
