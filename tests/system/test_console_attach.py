"""Attaching to a terminal over the websocket: a real pseudo-terminal with a real shell, on this machine."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import termios
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
from starlette.applications import Starlette

from hermes_trio.console.client import ConsoleClient, open_console_client
from hermes_trio.console.hub import ConsoleHub, open_console_hub
from hermes_trio.console.routes import console_routes
from hermes_trio.errors import InvalidInputError, UnavailableError
from hermes_trio.executor.executor import open_executor
from hermes_trio.link.asgi import serve_asgi
from hermes_trio.link.background import open_background_nursery
from hermes_trio.testing.fake_daemon import FakeDaemon
from hermes_trio.testing.memory_backend import MemoryBackend


class _Terminal:
    """A pseudo-terminal of this machine."""

    columns, rows = 80, 24

    def __init__(self, master: int) -> None:
        self.master = master
        os.set_blocking(master, False)

    async def receive_some(self) -> bytes:
        while True:
            await trio.lowlevel.wait_readable(self.master)
            try:
                return os.read(self.master, 65536)
            except BlockingIOError:
                continue
            except OSError:  # the shell has ended
                return b""

    async def send_all(self, data: bytes) -> None:
        await trio.lowlevel.wait_writable(self.master)
        os.write(self.master, data)

    async def resize(self, *, columns: int, rows: int) -> None:
        await trio.lowlevel.checkpoint()
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


@asynccontextmanager
async def _open_terminal(trajectory_id: str, *, columns: int, rows: int) -> AsyncIterator[_Terminal]:
    await trio.lowlevel.checkpoint()
    if trajectory_id == "nobody":
        raise UnavailableError("trajectory nobody has no slot now")
    master, slave = pty.openpty()
    terminal = _Terminal(master)
    await terminal.resize(columns=columns, rows=rows)
    environment = {"PS1": "$ ", "TERM": "xterm", "PATH": "/usr/bin:/bin"}
    process = await trio.lowlevel.open_process(
        ["/bin/bash", "--norc", "--noprofile", "-i"],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=environment,
        start_new_session=True,
    )
    os.close(slave)
    try:
        yield terminal
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 10):
            await process.wait()
        os.close(master)


@asynccontextmanager
async def _console() -> AsyncIterator[tuple[ConsoleHub, ConsoleClient]]:
    backend = MemoryBackend({"d": FakeDaemon(slots=2)})
    async with (
        open_executor(backend) as executor,
        open_console_hub(executor, open_terminal=_open_terminal) as hub,
        open_background_nursery() as nursery,
    ):
        url = await nursery.start(partial(serve_asgi, Starlette(routes=console_routes(hub, gate=None))))
        async with open_console_client(url, token=None) as client:
            yield hub, client


async def _read_until(client: ConsoleClient, channel: int, wanted: bytes) -> bytes:
    seen = b""
    with trio.fail_after(10):
        while wanted not in seen:
            message = await client.receive()
            if isinstance(message, bytes):
                assert message[0] == channel
                seen += message[1:]
    return seen


async def _attach(client: ConsoleClient, trajectory: str = "t") -> dict[str, Any]:
    attached: dict[str, Any] = await client.command("attach", trajectory=trajectory, columns=80, rows=24)
    return attached


async def test_a_terminal_is_watched_until_typing_is_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    """Keys before that go nowhere; both are in the audit log; and all of it is recorded."""
    caplog.set_level("INFO", logger="hermes_trio.audit")
    async with _console() as (hub, client):
        assert "terminal" in client.welcome["features"]
        attached = await _attach(client)
        channel = attached["channel"]
        head = bytes([channel])
        await client.send(head + b"echo ignored-$((1+1))\n")
        await client.command("write", channel=channel, writable=True)
        await client.command("resize", channel=channel, columns=100, rows=30)
        await client.send(head + b"echo typed-$((20+22)) $(stty size)\n")
        seen = await _read_until(client, channel, b"typed-42 30 100")
        assert b"ignored" not in seen
        await client.command("write", channel=channel, writable=False)
        await client.send(head + b"echo late-$((1+1))\n")
        await client.command("write", channel=channel, writable=True)
        await client.send(head + b"exit\n")
        with trio.fail_after(10):
            while True:
                message = await client.receive()
                if isinstance(message, dict) and message["t"] == "closed":
                    break
        recording = hub.recordings.find(attached["recording"])
        assert recording is not None
        assert "typed-42 30 100" in recording.text()
        assert '"r","100x30"' in recording.text()
        assert "late-2" not in recording.text()
    assert "outcome='attached to, to watch'" in caplog.text
    assert "outcome='t: typing'" in caplog.text


async def test_who_leaves_ends_the_terminal() -> None:
    """By closing its channel; another one gets another number."""
    async with _console() as (_, client):
        first = await _attach(client)
        await client.send({"t": "close", "channel": first["channel"]})
        with trio.fail_after(10):
            while True:
                message = await client.receive()
                if isinstance(message, dict) and message["t"] == "closed":
                    break
        second = await _attach(client)
        assert second["channel"] != first["channel"]
        await client.send({"t": "close", "channel": [1]})
        await client.send(b"\xff" + b"to nobody")
        with pytest.raises(InvalidInputError, match="nothing is attached"):
            await client.command("write", channel=first["channel"], writable=True)


async def test_what_cannot_be_attached_to_is_said() -> None:
    """No slot, a size that no terminal has, too many at once."""
    async with _console() as (_, client):
        with pytest.raises(UnavailableError, match="no slot"):
            await _attach(client, "nobody")
        with pytest.raises(InvalidInputError, match="rows"):
            await client.command("attach", trajectory="t", columns=80, rows=100_000)
        for _ in range(8):
            await _attach(client)
        with pytest.raises(UnavailableError, match="at most 8"):
            await _attach(client)
