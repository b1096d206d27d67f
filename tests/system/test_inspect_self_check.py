"""inspect_ai's own suite for sandbox providers, run against our executor through an adapter.

The adapter is what a provider package would hold: commands go through ``executor.stream``, so output of any
size comes; inputs and large command lines go by upload. Each check has a slot of its own, and they run
beside each other. One of the 44 adds a system user as root and runs as that user: our slots have one user
and no root, by design, and the adapter says so with the error that inspect_ai has for it.
"""

from __future__ import annotations

import itertools
import shlex
from pathlib import Path
from typing import Any

import pytest
import trio

import hermes_trio as ht
from hermes_trio.executor.executor import Executor

pytest.importorskip("inspect_ai", reason="comes with the dev extra")

from inspect_ai.util import (
    ExecResult,
    OutputLimitExceededError,
    SandboxEnvironment,
    SandboxEnvironmentLimits,
    SandboxUserUnsupportedError,
)
from inspect_ai.util._sandbox import self_check

pytestmark = [pytest.mark.bubblewrap, pytest.mark.slow]

INLINE_BYTES = 100_000
"""Above it a command line or an input goes by upload."""
DEFAULT_LIMIT_S = 120.0
CHECKS = 44
AT_ONCE = 8
NOT_FOUND, IS_FOLDER, FORBIDDEN = 41, 42, 43
READ = """
[ -e {file} ] || exit 41
[ -d {file} ] && exit 42
[ -r {file} ] || exit 43
cp -- {file} {spool}
"""
WRITE = """
[ -d {file} ] && exit 42
mkdir -p -- "$(dirname -- {file})" || exit 43
cat < {spool} > {file} || exit 43
"""


class OurSandbox(SandboxEnvironment):  # type: ignore[misc]  # its package is not followed
    """One trajectory's slot."""

    def __init__(self, executor: Executor, trajectory: str, here: Path) -> None:
        super().__init__()
        self._executor = executor
        self._trajectory = trajectory
        self._here = here
        self._numbers = itertools.count()

    async def exec(
        self,
        cmd: list[str],
        input: str | bytes | None = None,
        cwd: str | None = None,
        env: dict[str, str] | None = None,
        user: str | None = None,
        timeout: int | None = None,
        timeout_retry: bool = True,
        concurrency: bool = True,
    ) -> ExecResult[str]:
        """Run a command; see the base class. Cancellation: abandons."""
        if user is not None:
            raise SandboxUserUnsupportedError("a slot has one user, which is not root")
        lines = [f"cd -- {shlex.quote(cwd)}"] if cwd else []
        lines += [f"export {name}={shlex.quote(value)}" for name, value in (env or {}).items()]
        feed = "< /dev/null"
        if input is not None:
            data = input.encode() if isinstance(input, str) else input
            feed = f"< {await self._spool(data)}"
        lines.append(f"exec {shlex.join(cmd)} {feed}")
        result = await self._run("\n".join(lines), limit_s=timeout or DEFAULT_LIMIT_S)
        if result.returncode == 126 and "ermission denied" in result.stderr:
            raise PermissionError(result.stderr.strip())
        return result

    async def _run(self, script: str, *, limit_s: float = DEFAULT_LIMIT_S) -> ExecResult[str]:
        if len(script.encode()) > INLINE_BYTES:
            script = f". {await self._spool(script.encode())}"
        printed = {"stdout": bytearray(), "stderr": bytearray()}
        call = ht.ToolCall("bash", {"command": script})
        async with self._executor.stream(self._trajectory, call, limit_s=limit_s) as stream:
            async for item in stream:
                if isinstance(item, ht.ToolResult):
                    break
                printed[item.stream] += item.data
                if len(printed[item.stream]) > SandboxEnvironmentLimits.MAX_EXEC_OUTPUT_SIZE:
                    limit = SandboxEnvironmentLimits.MAX_EXEC_OUTPUT_SIZE_STR
                    raise OutputLimitExceededError(limit_str=limit, truncated_output=None)
        assert isinstance(item, ht.ToolResult)
        if item.metadata.get("timeout"):
            raise TimeoutError(item.error)
        code = int(item.metadata["exit_code"])
        stdout, stderr = (bytes(data).decode("utf-8", "replace") for data in printed.values())
        return ExecResult(success=code == 0, returncode=code, stdout=stdout, stderr=stderr)

    async def _spool(self, data: bytes) -> str:
        """A file of the slot that holds this; its absolute path."""
        local = self._here / "up"
        local.write_bytes(data)
        name = f".inspect/{next(self._numbers)}"
        sent = await self._executor.upload(self._trajectory, local, name)
        assert sent.success, sent.error
        return f"/workspace/{name}"

    async def write_file(self, file: str, contents: str | bytes) -> None:
        """Anywhere that the slot's user may write. Cancellation: abandons."""
        spool = await self._spool(contents.encode() if isinstance(contents, str) else contents)
        done = await self._run(WRITE.format(file=shlex.quote(file), spool=spool))
        _raise_for(done, file)

    async def read_file(self, file: str, text: bool = True) -> Any:
        """Anywhere that the slot's user may read. Cancellation: abandons."""
        name = f".inspect/{next(self._numbers)}"
        await self._run("mkdir -p .inspect")
        done = await self._run(READ.format(file=shlex.quote(file), spool=f"/workspace/{name}"))
        _raise_for(done, file)
        limit = SandboxEnvironmentLimits.MAX_READ_FILE_SIZE
        size = (await self._executor.read_artifact(self._trajectory, name, max_bytes=0)).file_size
        if size is not None and size > limit:
            limit_text = SandboxEnvironmentLimits.MAX_READ_FILE_SIZE_STR
            raise OutputLimitExceededError(limit_str=limit_text, truncated_output=None)
        got = await self._executor.download(self._trajectory, name, self._here / "down")
        assert got.success, got.error
        data = (self._here / "down").read_bytes()
        return data.decode() if text else data

    @classmethod
    async def sample_cleanup(cls, *_: Any, **__: Any) -> None:
        """The executor cleans up. Cancellation: atomic."""
        await trio.lowlevel.checkpoint()


def _raise_for(done: ExecResult[str], file: str) -> None:
    """What the scripts' statuses mean."""
    match done.returncode:
        case 0:
            return
        case 41:
            raise FileNotFoundError(f"no such file: {file}")
        case 42:
            raise IsADirectoryError(f"is a directory: {file}")
        case _:
            raise PermissionError(f"not permitted: {file}: {done.stderr.strip()}")


async def test_all_checks_pass_but_the_one_that_needs_root(tmp_path: Path) -> None:
    """44 of them; what fails is named with its reason."""
    failures: dict[str, Exception] = {}
    at_once = trio.CapacityLimiter(AT_ONCE)

    async def check(executor: Executor, name: str) -> None:
        here = tmp_path / name
        here.mkdir()
        async with at_once:
            await executor.execute(name, ht.ToolCall("bash", {"command": "true"}))
            try:
                await getattr(self_check, name)(OurSandbox(executor, name, here))
            except Exception as exc:
                failures[name] = exc
            await executor.release(name)

    async with (
        ht.open_local_backend(slots=AT_ONCE) as backend,
        ht.open_executor(backend) as executor,
        trio.open_nursery() as nursery,
    ):
        for name in self_check.__all__:
            nursery.start_soon(check, executor, name)
    assert len(self_check.__all__) == CHECKS
    assert {name: type(exc) for name, exc in failures.items()} == {
        "test_exec_as_user": SandboxUserUnsupportedError
    }, failures
