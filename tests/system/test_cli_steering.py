"""The shell's verbs against a running `hermes-trio serve` with real sandboxes, on a real terminal."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from attrs import define, frozen

pytestmark = pytest.mark.slow

TOKEN = "sesame-opens-9"
PATIENCE_S = 120.0


@frozen
class Server:
    """A server as the program it is."""

    url: str
    process: trio.Process
    log: Path
    client: httpx.AsyncClient

    async def execute(self, trajectory: str, command: str, **more: Any) -> dict[str, Any]:
        """One call, over HTTP."""
        tool = {"name": "bash", "arguments": {"command": command}}
        body = {"trajectory_id": trajectory, "tool": tool, "timeout_s": 300.0, **more}
        told: dict[str, Any] = (await self.client.post("/execute", json=body)).json()
        return told

    async def run(self, *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """A verb, to its end."""
        with trio.fail_after(PATIENCE_S):
            return await trio.run_process(
                command(*words),
                env=environment(self.url),
                stdin=stdin,
                capture_stdout=True,
                capture_stderr=True,
                check=False,
            )

    async def told(self, *words: str) -> Any:
        """What a verb prints as JSON."""
        run = await self.run(*words, "--json")
        assert (run.returncode, run.stderr) == (0, b""), run
        return json.loads(run.stdout)


def command(*words: str) -> list[str]:
    """The program."""
    return [sys.executable, "-m", "hermes_trio", *words]


def environment(url: str) -> dict[str, str]:
    """Where the server is, and what it asks for."""
    told = {"HERMES_TRIO_URL": url, "TOOL_EXECUTOR_TOKEN": TOKEN, "TERM": "xterm", "COLUMNS": "200"}
    measured = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}
    return {"PATH": os.environ["PATH"], **measured, **told}


@asynccontextmanager
async def serving(tmp_path: Path) -> AsyncIterator[Server]:
    """With two daemons of two slots each."""
    token, log = tmp_path / "token", tmp_path / "serve.log"
    token.write_text(TOKEN)
    words = ["serve", "--port", "0", "--slots", "4", "--daemons", "2", "--token-file", str(token), "--json"]
    with log.open("wb") as errors:
        process = await trio.lowlevel.open_process(command(*words), stdout=subprocess.PIPE, stderr=errors)
    try:
        assert process.stdout is not None
        with trio.fail_after(PATIENCE_S):
            url = json.loads(await process.stdout.receive_some())["url"]
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=120) as client:
            yield Server(url, process, log, client)
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 30):
            assert process.stdout is not None
            await process.stdout.aclose()
            process.terminate()
            await process.wait()


@define
class Typist:
    """Somebody at a terminal on which a verb runs."""

    process: trio.Process
    master: int
    seen: bytes = b""

    def type(self, keys: bytes) -> None:
        """As from a keyboard."""
        os.write(self.master, keys)

    def pull(self, *, columns: int, rows: int) -> None:
        """The window has another size; whose terminal it is not is told by hand."""
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.process.send_signal(signal.SIGWINCH)

    async def see(self, wanted: bytes) -> None:
        """Wait until it has been printed."""
        with trio.fail_after(PATIENCE_S):
            while wanted not in self.seen:
                await trio.lowlevel.wait_readable(self.master)
                self.seen += os.read(self.master, 65536)

    async def ended(self) -> int:
        """The exit code."""
        with trio.fail_after(PATIENCE_S):
            return await self.process.wait()


@asynccontextmanager
async def at_a_terminal(url: str, *words: str, columns: int = 100, rows: int = 30) -> AsyncIterator[Typist]:
    """Run a verb on a pseudo-terminal of its own."""
    with _pty(columns, rows) as (master, slave):
        process = await trio.lowlevel.open_process(
            command(*words),
            env={name: value for name, value in environment(url).items() if name != "COLUMNS"},
            stdin=slave,
            stdout=slave,
            stderr=slave,
        )
        try:
            yield Typist(process, master)
        finally:
            if process.returncode is None:
                process.kill()
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 10):
                await process.wait()


@contextmanager
def _pty(columns: int, rows: int) -> Iterator[tuple[int, int]]:
    master, slave = pty.openpty()
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    os.set_blocking(master, False)
    try:
        yield master, slave
    finally:
        os.close(master)
        os.close(slave)


def _flags(descriptor: int) -> int:
    flags: int = termios.tcgetattr(descriptor)[3]
    return flags & (termios.ECHO | termios.ICANON | termios.ISIG)


async def test_a_person_types_into_the_terminal_of_a_slot(tmp_path: Path) -> None:
    """It takes the size of theirs and follows it; Ctrl-] leaves it as it is, and their own terminal too."""
    async with serving(tmp_path) as server:
        await server.execute("agent", "echo hi")
        async with at_a_terminal(server.url, "attach", "agent", "--write") as typist:
            before = _flags(typist.master)
            await typist.see(b"typing into the terminal of agent; Ctrl-] leaves")
            typist.type(b"echo typed-$((20+22)) $(stty size)\n")
            await typist.see(b"typed-42 30 100")
            typist.pull(columns=120, rows=8)
            typist.type(b"echo pulled-$((20+23)); sleep 1; stty size\n")
            await typist.see(b"10 120")  # not smaller than a slot's terminal can be
            typist.type(b"echo last-$((1+1)); exec sleep 600\n\x1d")
            assert await typist.ended() == 0
            assert _flags(typist.master) == before
        # It goes on; who only watches does not type, and does not change its size.
        async with at_a_terminal(server.url, "attach", "agent", columns=50, rows=20) as typist:
            await typist.see(b"watching the terminal of agent")
            await typist.see(b"last-2")
            typist.type(b"\x03")
            assert await typist.ended() == 0
        run = await server.execute("agent", "pgrep -c sleep")
        assert run["output"].strip() == "1"
        log = server.log.read_text()
        assert "attached to, to watch" in log
        assert "agent: typing" in log


async def test_a_terminal_is_written_down_as_a_recording(tmp_path: Path) -> None:
    """With --json: an asciicast, whose last line comes when the terminal has ended."""
    async with serving(tmp_path) as server:
        await server.execute("agent", "echo hi")
        keys = "echo grüße-$((40+2)); exit\n".encode()
        run = await server.run("attach", "agent", "--write", "--json", stdin=keys)
        assert (run.returncode, run.stderr) == (0, b""), run
        header, *lines = (json.loads(line) for line in run.stdout.splitlines())
        assert (header["version"], header["width"], header["height"]) == (2, 200, 24)
        assert "grüße-42" in "".join(text for _, kind, text in lines if kind == "o")
        assert [at for at, *_ in lines] == sorted(at for at, *_ in lines)
        nobody = await server.run("attach", "nobody")
        assert (nobody.returncode, nobody.stderr) == (
            2,
            b"hermes-trio: field 'trajectory': nobody has no slot now\n",
        )


async def test_what_runs_is_listed_and_ended_and_a_daemon_drained(tmp_path: Path) -> None:
    """The process is gone, the caller is answered, and the server's log says who did it."""
    answers = list[dict[str, Any]]()
    async with serving(tmp_path) as server, trio.open_nursery() as nursery:

        async def sleep(trajectory: str) -> None:
            answers.append(await server.execute(trajectory, "sleep 77777"))

        for name in ("one", "two"):
            nursery.start_soon(sleep, name)
        calls = await _running(server, 2)
        pids = {each["trajectory"]: each["pid"] for each in calls}
        assert living(pids.values()) == 2
        first = next(each for each in calls if each["trajectory"] == "one")
        assert await server.told("cancel", "--call", str(first["number"])) == {"call": first["number"]}
        run = await server.run("cancel", "two")
        assert run.stdout == b"trajectory two has ended; its slot was given back\n"
        with trio.fail_after(PATIENCE_S):
            while len(answers) < 2:  # noqa: ASYNC110 - the answers come over HTTP
                await trio.sleep(0.05)
        assert [each["success"] for each in answers] == [False, False]
        assert living(pids.values()) == 0

        slots = await server.told("ls", "slots")
        held = next(each for each in slots if each["owner"] == "one")
        drained = await server.told("drain", held["daemon"])
        assert drained == {"daemon": held["daemon"], "leased": 1}
        assert b"1 slot is still leased there" in (await server.run("drain", held["daemon"])).stdout
        for name in ("three", "four"):
            await server.execute(name, "true")
        daemons = {each["name"]: each for each in await server.told("ls", "daemons")}
        assert (daemons[held["daemon"]]["state"], daemons[held["daemon"]]["leased"]) == ("draining", 1)
        assert (await server.execute("one", "echo still"))["output"] == "still"
        log = " ".join(server.log.read_text().split())
        for told in ("cancel_call", "cancel_trajectory", "two", "told to end", "drains"):
            assert told in log, log


async def _running(server: Server, count: int) -> list[dict[str, Any]]:
    """Until so many calls are known to run, with their processes."""
    with trio.fail_after(PATIENCE_S):
        while True:
            lines = await server.run("console", "--json", "--count", "2")
            last = json.loads(lines.stdout.splitlines()[-1])
            calls = [
                {**call, "trajectory": each["id"]} for each in last["trajectories"] for call in each["live"]
            ]
            if sum(call["pid"] is not None and call["phase"] == "running" for call in calls) == count:
                return calls


async def test_a_server_that_goes_away_is_one_sentence(tmp_path: Path) -> None:
    """Whatever was being watched: exit code 3, and a terminal that echoes again."""
    ends = dict[str, tuple[int, bytes]]()
    async with serving(tmp_path) as server, trio.open_nursery() as nursery:
        await server.execute("agent", "echo hi")
        async with trio.open_nursery() as busy:
            busy.start_soon(_keep_busy, server)  # `logs` prints what happens
            for verb in ("top", "console", "logs"):
                await nursery.start(_watch, server, verb, ends)
            busy.cancel_scope.cancel()
        async with at_a_terminal(server.url, "attach", "agent", "--write") as typist:
            before = _flags(typist.master)
            typist.type(b"echo there-$((1+1))\n")
            await typist.see(b"there-2")
            server.process.kill()
            assert await typist.ended() == 3
            await typist.see(b"the server went away")
            assert b"Traceback" not in typist.seen
            assert _flags(typist.master) == before
    said = b"hermes-trio: the connection to the server is over: the server went away\n"
    assert ends == dict.fromkeys(("logs", "top", "console"), (3, said))


async def _keep_busy(server: Server) -> None:
    """Until cancelled, between two calls: struck while it sends a body, httpx leaves a generator open."""
    while True:
        with trio.CancelScope(shield=True):  # as long as the client waits at most
            await server.execute("agent", "sleep 0.2")
        await trio.lowlevel.checkpoint()


async def _watch(
    server: Server,
    verb: str,
    ends: dict[str, tuple[int, bytes]],
    *,
    task_status: trio.TaskStatus[None],
) -> None:
    """Started when it has printed something; then to its end."""
    process = await trio.lowlevel.open_process(
        command(verb, "--json"),
        env=environment(server.url),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    errors = b""
    try:
        with trio.fail_after(2 * PATIENCE_S):
            await process.stdout.receive_some()
            task_status.started()
            async for _ in process.stdout:
                pass
            async for data in process.stderr:
                errors += data
            ends[verb] = await process.wait(), errors
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 10):
            await process.stdout.aclose()
            await process.stderr.aclose()
            process.kill()
            await process.wait()


def living(pids: Iterable[int]) -> int:
    """How many of these are there."""
    return sum(Path(f"/proc/{pid}").exists() for pid in pids)


@pytest.mark.parametrize("words", [("top", "--json"), ("logs",)])
async def test_who_reads_us_may_leave(tmp_path: Path, words: tuple[str, ...]) -> None:
    """`hermes-trio logs | head -1`: no complaint."""
    async with serving(tmp_path) as server, trio.open_nursery() as nursery:
        await server.execute("agent", "echo hi")
        nursery.start_soon(_keep_busy, server)
        with trio.fail_after(PATIENCE_S):
            run = await trio.run_process(
                ["bash", "-c", f"{' '.join(command(*words))} | head -1; exit ${{PIPESTATUS[0]}}"],
                env=environment(server.url),
                capture_stdout=True,
                capture_stderr=True,
                check=False,
            )
        nursery.cancel_scope.cancel()
        assert (run.returncode, run.stderr) == (1, b""), run.stderr.decode()
        assert run.stdout.count(b"\n") == 1
