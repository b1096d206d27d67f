"""The ancestor's sandbox server: aiohttp, ``POST /batch``, bubblewrap per command, files touched directly.

``python -m benchmarks.arms.ancestor.server SLOTS`` prints the port it serves on, and ends when its input
does.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiohttp import web

from benchmarks.arms.commands import ancestor_argv

MAX_OUTPUT_CHARACTERS = 50_000
MAX_FILE_BYTES = 100_000


class SandboxServer:
    """Slots are directories; a call names its slot."""

    def __init__(self, data_dir: Path, slots: int) -> None:
        self._workspaces = {f"slot_{index}": data_dir / f"slot_{index}" for index in range(slots)}
        for path in self._workspaces.values():
            path.mkdir()

    async def handle_batch(self, request: web.Request) -> web.Response:
        """All calls at once; one answer when the slowest has ended.

        Cancellation: *abandons* the commands.
        """
        items = await request.json()
        return web.json_response(await asyncio.gather(*[self._execute(item) for item in items]))

    async def _execute(self, item: Mapping[str, Any]) -> dict[str, Any]:
        workspace, arguments = self._workspaces[item["slot_id"]], item["args"]
        match item["tool"]:
            case "bash":
                result = await _bash(workspace, arguments, limit_s=item["timeout"])
            case "write_file":
                result = _write_file(workspace, arguments)
            case "read_file":
                result = _read_file(workspace, arguments)
            case other:
                result = _failed(f"Unknown tool: {other}")
        return {**result, "execution_id": item["execution_id"]}


async def _bash(workspace: Path, arguments: Mapping[str, Any], *, limit_s: float) -> dict[str, Any]:
    allow_network = bool(arguments.get("allow_network", True))
    argv = ancestor_argv(arguments["command"], workspace=workspace, allow_network=allow_network)
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=workspace,
    )
    try:
        stdout, stderr = await asyncio.wait_for(process.communicate(), timeout=limit_s)
    except TimeoutError:
        process.kill()
        await process.wait()
        return _failed(f"Command timed out after {limit_s}s", exit_code=-1, timeout=True)
    status = process.returncode
    return {
        "success": status == 0,
        "output": _text(stdout, stderr),
        "error": "" if status == 0 else f"Exit code: {status}",
        "metadata": {"exit_code": status, "sandboxed": True, "network_isolated": not allow_network},
    }


def _text(stdout: bytes, stderr: bytes) -> str:
    out, err = stdout.decode(errors="replace"), stderr.decode(errors="replace")
    text = f"{out}\n[stderr]\n{err}" if out and err else out or err
    return text.strip()[:MAX_OUTPUT_CHARACTERS]


def _write_file(workspace: Path, arguments: Mapping[str, Any]) -> dict[str, Any]:
    path = _inside(workspace, arguments["path"])
    content: str = arguments["content"]
    size = len(content.encode())
    if path is None:
        return _failed("Access denied: path outside workspace")
    if size > MAX_FILE_BYTES:
        return _failed(f"Content too large: {size} bytes (max {MAX_FILE_BYTES})")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return {"success": True, "output": f"Successfully wrote {size} bytes to {arguments['path']}"}


def _read_file(workspace: Path, arguments: Mapping[str, Any]) -> dict[str, Any]:
    path = _inside(workspace, arguments["path"])
    if path is None:
        return _failed("Access denied: path outside workspace")
    if not path.exists():
        return _failed(f"File not found: {arguments['path']}")
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        return _failed(f"File too large: {size} bytes (max {MAX_FILE_BYTES})")
    return {"success": True, "output": path.read_text()}


def _inside(workspace: Path, name: str) -> Path | None:
    path = (workspace / name).resolve()
    return path if path.is_relative_to(workspace.resolve()) else None


def _failed(error: str, **metadata: Any) -> dict[str, Any]:
    return {"success": False, "error": error, "metadata": metadata}


async def serve(slots: int) -> None:
    """Serves until standard input ends.

    Cancellation: *abandons* the commands.
    """
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_reader(0, stopped.set)
    with tempfile.TemporaryDirectory(prefix="hermes-trio-bench-") as data_dir:
        application = web.Application(client_max_size=64 * 1024 * 1024)
        application.router.add_post("/batch", SandboxServer(Path(data_dir), slots).handle_batch)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, shutdown_timeout=1.0)
        await site.start()
        print(runner.addresses[0][1], flush=True)
        await stopped.wait()
        await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
