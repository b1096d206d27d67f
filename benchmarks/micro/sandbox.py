"""What a sandboxed command costs inside the daemon, beside a plain spawn of the same in the same run.

``python -m benchmarks.micro.sandbox [--smoke] [--json]``. Rounds are interleaved and medians of rounds are
shown: on a shared machine trust ratios. Targets: a warm ``bash -c true`` at most 1.6 times a plain
``posix_spawn`` of bash; a file operation below 150 microseconds of the daemon's processor time; 64 slots
ready in 1.5 seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import trio

from hermes_trio.wire.frames import Lease
from hermes_trio.wire.operations import BashArguments, ReadFileArguments, WriteFileArguments
from sandbox_daemon.isolation.levels import Isolation
from sandbox_daemon.isolation.probe import probe
from sandbox_daemon.slots.pool import SlotPool, SlotPoolConfig, open_slot_pool

ROUNDS = 5
TRUE = BashArguments(command="true")


def spawn_plainly(count: int) -> list[float]:
    """Seconds of each of ``count`` plain spawns."""
    took = []
    for _ in range(count):
        began = time.perf_counter()
        pid = os.posix_spawn("/bin/bash", ["/bin/bash", "-c", "true"], {"PATH": "/usr/bin:/bin"})
        os.waitpid(pid, 0)
        took.append(time.perf_counter() - began)
    return took


async def timed(work: Callable[[], Awaitable[object]], count: int) -> list[float]:
    """Seconds of each of ``count`` runs, one after another.

    Cancellation: abandons.
    """
    await trio.lowlevel.checkpoint()
    took = []
    for _ in range(count):
        began = time.perf_counter()
        await work()
        took.append(time.perf_counter() - began)
    return took


async def compare_commands(pool: SlotPool, lease: Lease, count: int) -> dict[str, float]:
    """A warm command beside a plain spawn, interleaved.

    Cancellation: abandons.
    """
    await trio.lowlevel.checkpoint()
    plain, warm, cpu = [], [], 0.0
    for _ in range(ROUNDS):
        plain.append(spawn_plainly(count))
        began = time.process_time()
        warm.append(await timed(lambda: pool.bash(lease, TRUE), count))
        cpu += time.process_time() - began
    plain_s, warm_s = median(median(each) for each in plain), median(median(each) for each in warm)
    every = sorted(took for each in warm for took in each)
    return {
        "plain_p50_ms": plain_s * 1e3,
        "warm_p50_ms": warm_s * 1e3,
        "warm_p99_ms": quantiles(every, n=100)[98] * 1e3,
        "ratio": warm_s / plain_s,
        "daemon_cpu_us_per_command": cpu / (ROUNDS * count) * 1e6,
    }


async def time_files(pool: SlotPool, lease: Lease, count: int) -> dict[str, float]:
    """Write 1 KB and read it back.

    Cancellation: abandons.
    """
    content = b"x" * 1024

    async def both() -> None:
        await pool.write_file(lease, WriteFileArguments(path="f"), content=content)
        await pool.read_file(lease, ReadFileArguments(path="f"))

    began = time.process_time()
    took = await timed(both, count)
    cpu = time.process_time() - began
    return {
        "file_operation_p50_us": median(took) / 2 * 1e6,
        "daemon_cpu_us_per_file_operation": cpu / count / 2 * 1e6,
    }


async def time_resets(pool: SlotPool, count: int) -> dict[str, float]:
    """Kill, fresh workspace, fresh agent, verified.

    Cancellation: abandons.
    """
    await trio.lowlevel.checkpoint()
    took = []
    for _ in range(count):
        lease = await pool.acquire(owner="bench", trajectory_id="reset")
        began = time.perf_counter()
        await pool.release(lease)
        took.append(time.perf_counter() - began)
    return {"reset_p50_ms": median(took) * 1e3}


async def time_flood(pool: SlotPool, lease: Lease, mebibytes: int) -> dict[str, float]:
    """How fast output is counted and thrown away.

    Cancellation: abandons.
    """
    command = BashArguments(command=f"head -c {mebibytes}M /dev/zero")
    outcome = await pool.bash(lease, command, limit_s=120)
    return {"drain_mib_per_s": mebibytes / outcome.data["duration_s"]}


async def time_start(isolation: Isolation, folder: Path, slots: int) -> dict[str, float]:
    """From nothing to that many slots ready, and back.

    Cancellation: poisons.
    """
    began = time.perf_counter()
    async with open_slot_pool(SlotPoolConfig(slots=slots, data_dir=folder), isolation) as pool:
        ready = time.perf_counter()
        private_kib = [
            _private_kib(cell.agent.pid) for cell in pool._cells.values() if cell.agent is not None
        ]
        began_closing = time.perf_counter()
    return {
        f"start_{slots}_slots_s": ready - began,
        f"close_{slots}_slots_s": time.perf_counter() - began_closing,
        "agent_private_mib": median(private_kib) / 1024,
    }


def _private_kib(pid: int) -> int:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    lines = (line.split() for line in text.splitlines())
    return sum(int(words[1]) for words in lines if words[0] in ("Private_Clean:", "Private_Dirty:"))


async def measure(*, smoke: bool) -> dict[str, Any]:
    """All figures.

    Cancellation: poisons.
    """
    count = 10 if smoke else 200
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        isolation = await probe("auto", folder)
        figures: dict[str, Any] = {"level": isolation.level.value}
        async with open_slot_pool(SlotPoolConfig(slots=2, data_dir=folder), isolation) as pool:
            lease = await pool.acquire(owner="bench", trajectory_id="t")
            await timed(lambda: pool.bash(lease, TRUE), 20)
            figures |= await compare_commands(pool, lease, count)
            figures |= await time_files(pool, lease, count)
            figures |= await time_resets(pool, 3 if smoke else 20)
            figures |= await time_flood(pool, lease, 16 if smoke else 200)
        figures |= await time_start(isolation, folder, 4 if smoke else 64)
    return figures


def main() -> int:
    """Prints the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.micro.sandbox", description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="a few of each, to see that it works")
    parser.add_argument("--json", action="store_true", help="JSON instead of a table")
    options = parser.parse_args()

    async def run() -> dict[str, Any]:
        return await measure(smoke=options.smoke)

    figures = trio.run(run)
    if options.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:36} {value if isinstance(value, str) else format(value, '.2f')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
