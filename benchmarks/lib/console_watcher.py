"""A watcher of a console in a process of its own: ``python -m benchmarks.lib.console_watcher URL SECONDS``.

Prints how many bytes a second it was sent while it looked at the live tree, as JSON.
"""

from __future__ import annotations

import json
import sys

import trio

from hermes_trio.console.client import open_console_client


async def watch(url: str, seconds: float) -> dict[str, float]:
    """Look at the tree for so long.

    Cancellation: poisons the connection.
    """
    async with open_console_client(url, token=None) as client:
        await client.subscribe(["trajectories"])
        began, late, ticks = trio.current_time(), 0, 0
        with trio.move_on_after(seconds):
            while True:
                tick = await client.receive_tick()
                ticks, late = ticks + 1, max(late, tick.get("late", 0))
        passed = trio.current_time() - began
        return {"bytes_per_s": client.bytes_received / passed, "ticks_per_s": ticks / passed, "late": late}


if __name__ == "__main__":
    print(json.dumps(trio.run(watch, sys.argv[1], float(sys.argv[2]))))
