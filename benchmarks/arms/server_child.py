"""A server in a process of its own, started from asyncio. The Trio arms use ``lib/children.py``."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from benchmarks.lib.children import child_environment
from hermes_trio.errors import LostError

_GRACE_S = 5.0


@asynccontextmanager
async def open_server(module: str, arguments: Sequence[str]) -> AsyncIterator[str]:
    """Runs ``python -m module`` and yields the URL of the port that it prints first.

    Cancellation: *shielded, at most 5 s*: the server is stopped before the block is left.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=child_environment(),
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        line = await process.stdout.readline()
        if not line:
            raise LostError(f"{module} ended before it served; its last words are on standard error")
        yield f"http://127.0.0.1:{int(line)}"
    finally:
        process.stdin.close()
        await _wait_or_kill(process)


async def _wait_or_kill(process: asyncio.subprocess.Process) -> None:
    try:
        await asyncio.wait_for(process.wait(), timeout=_GRACE_S)
    except TimeoutError:
        process.kill()
        await process.wait()
