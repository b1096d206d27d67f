"""A daemon is killed under load: its calls end typed, nobody else's do, and its slots come back."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

import hermes_trio as ht


def children(pid: int | str) -> list[int]:
    """The children of all its threads."""
    lists = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for listed in lists for child in listed.read_text().split()]


def daemon_pids() -> list[int]:
    """The daemons that this process has started."""
    return [pid for pid in children("self") if b"sandbox_daemon" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def below(pid: int) -> list[int]:
    """All descendants of a process."""
    return [found for child in children(pid) for found in (child, *below(child))]


def alive(pids: list[int]) -> list[int]:
    """Those that still run; one that nobody has reaped yet is dead."""
    return [pid for pid in pids if state_of(pid) not in {"", "Z", "X"}]


def state_of(pid: int) -> str:
    """The letter in its status; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


async def wait_until(condition: Callable[[], bool], *, within_s: float) -> None:
    """Look again and again: other processes send no events here."""
    with trio.fail_after(within_s):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.01)


@pytest.mark.slow
async def test_a_killed_daemon_ends_its_own_calls_and_is_replaced() -> None:
    """Typed within 2 s, the other daemon untouched, no process left, the capacity back after the restart."""
    results: dict[str, ht.ToolResult] = {}
    async with (
        ht.open_local_backend(slots=4, daemons=2, isolation="auto") as backend,
        ht.open_executor(backend, config=ht.ExecutorConfig(allow_network=False)) as executor,
    ):

        async def run(name: str, command: str) -> None:
            results[name] = await executor.execute(name, ht.ToolCall("bash", {"command": command}))

        async with trio.open_nursery() as nursery:
            for number in range(4):
                nursery.start_soon(run, f"t{number}", "setsid sleep 86398 & sleep 5")
            await trio.sleep(1.5)
            victim = daemon_pids()[0]
            its_processes = below(victim)
            os.kill(victim, signal.SIGKILL)
            await wait_until(lambda: not alive(its_processes), within_s=0.5)
            await wait_until(lambda: len(results) >= 2, within_s=1.5)
        lost = [name for name, result in results.items() if not result.success]
        assert [results[name].provenance for name in lost] == [ht.Provenance.SANDBOX_LOST] * 2
        for name in lost:
            again = await executor.execute(name, ht.ToolCall("bash", {"command": "true"}))
            assert again.provenance is ht.Provenance.SANDBOX_LOST
            await executor.release(name)
        await wait_until(lambda: executor.statistics().slots.total == 4, within_s=20)
        for name in lost:
            fresh = await executor.execute(name, ht.ToolCall("bash", {"command": "ls -A; echo back"}))
            assert fresh.output == "back"
