"""The program sandbox-daemon, from outside: what it says, what it refuses, and what it leaves behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
import trio

import hermes_trio as ht
from hermes_trio.link.message import MessageLink
from hermes_trio.link.websocket import open_websocket_link
from hermes_trio.wire.codec import FrameDecoder, encode_frame
from hermes_trio.wire.frames import (
    Call,
    CallId,
    Error,
    ErrorCode,
    Frame,
    Heartbeat,
    Hello,
    Limits,
    Result,
    SessionId,
    Welcome,
)

TOKEN = "t" * 64


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that slot users can reach, unlike pytest's own."""
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="daemon-test-") as directory:
        Path(directory).chmod(0o755)
        (Path(directory) / "token").write_text(TOKEN)
        yield Path(directory)


def command(place: Path, *more: str) -> list[str]:
    """The command line of a daemon with sensible options."""
    base = ["--data-dir", str(place / "data"), "--token-file", str(place / "token"), "--isolation", "auto"]
    return [sys.executable, "-m", "sandbox_daemon", "--slots", "2", *base, *more]


def refusal(*arguments: str, environment: dict[str, str] | None = None) -> tuple[int, str]:
    """Exit code and stderr of a daemon that does not start."""
    ran = subprocess.run(
        [sys.executable, "-m", "sandbox_daemon", *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={**os.environ, **(environment or {})},
    )
    assert ran.stdout == ""
    assert "Traceback" not in ran.stderr
    return ran.returncode, ran.stderr.strip()


@pytest.fixture
def small_disk(place: Path) -> Iterator[Path]:
    """400 MiB below the daemon's data, of their own. Ask for it before ``daemon``."""
    data = place / "data"
    data.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400m,mode=700", "tmpfs", data], check=True)
    yield data
    subprocess.run(["umount", data], check=True)


@pytest.fixture
def daemon(place: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A running daemon and its URL."""
    with subprocess.Popen(
        command(place), stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        assert ready["pid"] == process.pid
        yield process, ready["url"]
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "field '--data-dir': is required"),
        (["--data-dir", "d", "--slots", "0"], "field '--slots': must be between 1 and 4096, not 0"),
        (["--data-dir", "d", "--port", "99999"], "field '--port': must be between 0 and 65535"),
        (["--data-dir", "d", "--token-file", "/nowhere"], "/nowhere: cannot be read: No such file"),
        (["--data-dir", "d"], "a token is needed"),
    ],
)
def test_bad_options_are_one_sentence(arguments: list[str], says: str) -> None:
    """Exit code 2, the field by name, no traceback."""
    code, stderr = refusal(*arguments)
    assert (code, stderr.count("\n")) == (2, 0)
    assert says in stderr


@pytest.mark.slow
def test_short_tokens_and_open_binds_are_refused_without_showing_the_token() -> None:
    """A secret must be one, and must not travel in the clear."""
    code, stderr = refusal("--data-dir", "d", environment={"SANDBOX_DAEMON_TOKEN": "hunter2"})
    assert (code, "hunter2" in stderr) == (2, False)
    assert "at least 32" in stderr
    open_bind = ("--data-dir", "d", "--host", "0.0.0.0")
    code, stderr = refusal(*open_bind, environment={"SANDBOX_DAEMON_TOKEN": TOKEN})
    assert code == 2
    assert "is not loopback" in stderr


@pytest.mark.slow
def test_health_is_plain_http_and_needs_no_token(daemon: tuple[subprocess.Popen[str], str]) -> None:
    """What an orchestrator asks for, with the isolation level in it."""
    _, url = daemon
    with urllib.request.urlopen(url.replace("ws:", "http:") + "/health", timeout=10) as response:
        health = json.load(response)
    assert (health["status"], health["slots"], health["available"]) == ("ok", 2, 2)
    assert health["isolation"]["level"] in {"ns", "uid", "none"}


@pytest.mark.slow
async def test_a_wrong_token_is_one_clear_sentence(daemon: tuple[subprocess.Popen[str], str]) -> None:
    """Refused before the upgrade, told to the user, without the token."""
    _, url = daemon
    async with ht.open_static_backend([url], token="w" * 64) as backend:
        with pytest.raises(ht.UnavailableError) as caught:
            async with ht.open_executor(backend):
                pass
    assert "token" in str(caught.value)
    assert "wwww" not in str(caught.value)


@pytest.mark.slow
async def test_another_protocol_version_is_refused_by_name(
    daemon: tuple[subprocess.Popen[str], str],
) -> None:
    """Both versions are in the sentence."""
    _, url = daemon
    hello = Hello(protocol=99, session_id=SessionId("s"), epoch=None, received=0, limits=Limits())
    async with open_websocket_link(url, token=TOKEN, max_message_bytes=1 << 20, connect_timeout=5) as link:
        await link.send_message(encode_frame(hello))
        [(_, answer)] = FrameDecoder(1 << 20).feed(await link.receive_message())
    assert isinstance(answer, Error)
    assert answer.code is ErrorCode.VERSION
    assert "version 1" in answer.message
    assert "99" in answer.message


@pytest.mark.slow
@pytest.mark.parametrize(
    "garbage",
    [b"\0" * 64, b"\xff" * 64, b"GET / HTTP/1.1\r\n\r\n", b"{}" * 1000],
    ids=["zeros", "ones", "http", "json"],
)
async def test_garbage_ends_its_own_link_only(
    garbage: bytes, daemon: tuple[subprocess.Popen[str], str]
) -> None:
    """It is told why, and the daemon serves the next one."""
    _, url = daemon
    async with open_websocket_link(url, token=TOKEN, max_message_bytes=1 << 20, connect_timeout=5) as link:
        await link.send_message(garbage)
        [(_, answer)] = FrameDecoder(1 << 20).feed(await link.receive_message())
        assert isinstance(answer, Error)
        with pytest.raises(ht.BrokenLinkError):
            await link.receive_message()
    async with ht.open_static_backend([url], token=TOKEN) as backend, ht.open_executor(backend) as executor:
        assert (await executor.execute("t", ht.ToolCall("bash", {"command": "echo on"}))).output == "on"


@pytest.mark.slow
async def test_a_link_that_knows_the_id_only_cannot_take_a_session(
    daemon: tuple[subprocess.Popen[str], str],
) -> None:
    """It does not know how often the session was begun; the session's own link goes on."""
    _, url = daemon
    call = encode_frame(Call(call_id=CallId(1), operation="none", arguments={}), sequence=1)
    hello = encode_frame(
        Hello(protocol=1, session_id=SessionId("one"), epoch=None, received=0, limits=Limits())
    )

    async def said(link: MessageLink, data: bytes) -> list[Frame]:
        await link.send_message(data)
        return [frame for _, frame in FrameDecoder(1 << 20).feed(await link.receive_message())]

    def new_link() -> AbstractAsyncContextManager[MessageLink]:
        return open_websocket_link(url, token=TOKEN, max_message_bytes=1 << 20, connect_timeout=5)

    async with new_link() as owner, new_link() as thief:
        assert [type(frame) for frame in await said(owner, hello)] == [Welcome]
        assert [type(frame) for frame in await said(owner, call)] == [Result]
        [error] = await said(thief, hello)
        assert isinstance(error, Error)
        assert error.code is ErrorCode.SESSION
        beats = await said(owner, encode_frame(Heartbeat(nonce=1)))
        assert Heartbeat(nonce=1, echo=True) in beats


@pytest.mark.slow
@pytest.mark.volumes
async def test_a_disk_that_is_almost_full_is_told_before_a_slot_loses_what_it_wrote(
    small_disk: Path, daemon: tuple[subprocess.Popen[str], str]
) -> None:
    """The call waits, and runs when there is room again."""
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(200 << 20))
    _, url = daemon
    call = ht.ToolCall("bash", {"command": "echo on"})
    async with ht.open_static_backend([url], token=TOKEN) as backend, ht.open_executor(backend) as executor:
        with trio.move_on_after(3.0):
            await executor.execute("t", call)
            pytest.fail("it ran on a disk that was almost full")
        ballast.unlink()
        assert (await executor.execute("t", call)).output == "on"


@pytest.mark.slow
def test_sigterm_leaves_nothing_running(place: Path) -> None:
    """Exit code 0, the workspaces gone, nobody of its processes left."""
    with subprocess.Popen(
        command(place), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        children = processes_below(process.pid)
        assert children
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]
    assert not list((place / "data" / "slots").iterdir())


@pytest.mark.slow
def test_the_end_of_standard_input_is_the_end_when_asked_for(place: Path) -> None:
    """A parent that is killed cannot say goodbye; its pipe can."""
    with subprocess.Popen(
        command(place, "--exit-with-stdin"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdout.readline()
        process.stdin.close()
        assert process.wait(timeout=30) == 0


@pytest.mark.slow
async def test_a_killed_executor_leaves_clean_slots(daemon: tuple[subprocess.Popen[str], str]) -> None:
    """Kill -9 on our side: the daemon sees the link end, kills, wipes and frees."""
    _, url = daemon
    program = (
        "import trio, hermes_trio as ht\n"
        "async def main():\n"
        f"    async with ht.open_static_backend(['{url}'], token='{TOKEN}') as b, ht.open_executor(b) as e:\n"
        "        async with trio.open_nursery() as n:\n"
        "            for t in 'ab':\n"
        "                n.start_soon(e.execute, t, ht.ToolCall('bash', {'command': 'touch x; sleep 300'}))\n"
        "            await trio.sleep(1); print('busy', flush=True); await trio.sleep(300)\n"
        "trio.run(main)\n"
    )
    argv = [sys.executable, "-c", program]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as executor:  # noqa: ASYNC220 - a test
        assert executor.stdout is not None
        assert await trio.to_thread.run_sync(executor.stdout.readline) == "busy\n"
        executor.kill()
    async with ht.open_static_backend([url], token=TOKEN) as backend, ht.open_executor(backend) as next_one:
        for name in "cd":
            look = ht.ToolCall("bash", {"command": "ls -A; cat /proc/[0-9]*/comm | grep -c sleep"})
            listed = await next_one.execute(name, look)
            assert listed.output == "0"


def processes_below(pid: int) -> list[int]:
    """All descendants of a process."""
    below = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in map(int, (task / "children").read_text().split()):
            below += [child, *processes_below(child)]
    return below
