"""Hostile clients against the program: refused, bounded in memory, and others are served meanwhile.

Each attack goes on until it is told to stop, so that whoever is served is served during it. How much memory
the server takes for it is its own highest mark (``VmHWM``), which the kernel sets back when it is asked to.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from attrs import field, frozen

pytestmark = [pytest.mark.slow, pytest.mark.bubblewrap]

TOKEN = "a-token-of-the-test"
MAX_GROWN_MIB = 48
"""What an attack below may cost the server; it is told in docs/reference/http-api.md."""
MAX_BODY_MIB = 16
"""What each connection may cost besides, whose client has the token and does not tell its body's length."""
CHUNKED = "a gibibyte, in chunks"
CALLS = 10
"""Another client's, during each attack."""
MANY = 200
"""Connections of an attack that holds them."""
FEW = 8
"""Connections of an attack that sends as fast as it can, on two cores that the served client needs, too."""
PIECE = bytes(64 * 1024)


@frozen
class Victim:
    """The server, and what is heard from it."""

    port: int
    pid: int
    answers: Counter[str] = field(factory=Counter)
    """Status lines, and `closed` for a connection that ended without one."""

    async def connect(self) -> trio.SocketStream:
        """A plain connection."""
        return await trio.open_tcp_stream("127.0.0.1", self.port)

    async def hear(self, stream: trio.SocketStream) -> None:
        """Count what the connection is answered, until it ends."""
        data = b""
        with suppress(trio.BrokenResourceError):
            while piece := await stream.receive_some():
                data = (data + piece)[:4096]
        self.answers[data[9:12].decode("latin1") if data.startswith(b"HTTP/1.1 ") else "closed"] += 1

    def memory_mib(self, name: str) -> float:
        """A figure of the kernel's: `VmRSS` or `VmHWM`."""
        text = Path(f"/proc/{self.pid}/status").read_text()
        return int(text.partition(f"{name}:")[2].split()[0]) / 1024

    def forget_peak(self) -> None:
        """The highest mark begins anew."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def descriptors(self) -> int:
        """That it holds."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))


Attack = Callable[[Victim], Awaitable[None]]
"""One connection's worth, from its beginning to its end."""


def head(*lines: str, path: str = "/execute", method: str = "POST", token: str | None = TOKEN) -> bytes:
    """A head, complete."""
    bearer = () if token is None else (f"Authorization: Bearer {token}",)
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *bearer, *lines, "", ""]).encode()


def request(body: bytes, *lines: str, **options: Any) -> bytes:
    """A whole request."""
    return head(*lines, f"Content-Length: {len(body)}", "Connection: close", **options) + body


def bash(command: str) -> bytes:
    """The body of a call."""
    return json.dumps(
        {"trajectory_id": "attacker", "tool": {"name": "bash", "arguments": {"command": command}}}
    ).encode()


async def ask(victim: Victim, data: bytes) -> None:
    """Send it all, and hear what comes."""
    async with await victim.connect() as stream:
        with suppress(trio.BrokenResourceError):
            await stream.send_all(data)
        await victim.hear(stream)


async def dribble(victim: Victim, begin: bytes, rest: bytes) -> None:
    """A byte a second, until the server has had enough."""
    async with await victim.connect() as stream, trio.open_nursery() as nursery:

        async def send() -> None:
            with suppress(trio.BrokenResourceError):
                await stream.send_all(begin)
                for byte in rest:
                    await trio.sleep(1.0)
                    await stream.send_all(bytes([byte]))

        nursery.start_soon(send)
        await victim.hear(stream)
        nursery.cancel_scope.cancel()


async def pour(victim: Victim, begin: bytes, piece: bytes) -> None:
    """A gibibyte, unless it is stopped; what is answered is heard meanwhile."""
    async with await victim.connect() as stream, trio.open_nursery() as nursery:

        async def send() -> None:
            with suppress(trio.BrokenResourceError):
                await stream.send_all(begin)
                for _ in range(2**30 // len(piece)):
                    await stream.send_all(piece)

        nursery.start_soon(send)
        await victim.hear(stream)
        nursery.cancel_scope.cancel()


async def speak(victim: Victim, first: bytes, piece: bytes = b"") -> None:
    """A websocket: what is sent once it is accepted, and then a gibibyte of pieces unless it is stopped."""
    async with await victim.connect() as stream:
        await stream.send_all(upgrade())
        with suppress(trio.BrokenResourceError):
            answer = await stream.receive_some()
            victim.answers[answer[9:12].decode("latin1") or "closed"] += 1
            await stream.send_all(first)
            for _ in range(2**30 // len(piece) if piece else 0):
                await stream.send_all(piece)
            while await stream.receive_some():
                pass


async def take_nothing(victim: Victim, data: bytes) -> None:
    """Ask for a lot, and read none of it until the server gives up."""
    async with await victim.connect() as stream:
        stream.socket.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, 4096)
        with suppress(trio.BrokenResourceError):
            await stream.send_all(data)
            await trio.sleep_forever()


def upgrade(*lines: str) -> bytes:
    """The handshake of the console's websocket, without a token: that comes in its first message."""
    return head(
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        *lines,
        path="/console/ws",
        method="GET",
        token=None,
    )


def frame(payload: bytes, *, told: int | None = None, opcode: int = 1, last: bool = True) -> bytes:
    """A masked frame, with a key of zeros; `told` is the length that it claims."""
    size = len(payload) if told is None else told
    first = bytes([opcode | (0x80 if last else 0)])
    return first + b"\xff" + size.to_bytes(8, "big") + bytes(4) + payload


HELLO = frame(json.dumps({"t": "hello", "token": "another"}).encode())
CHUNK = b"10000\r\n" + PIECE + b"\r\n"
FLOOD = b"".join(b"X-%d: %s\r\n" % (number, b"y" * 1000) for number in range(1000))
DEEP = b"[" * 1_000_000 + b"]" * 1_000_000
GIB = "Content-Length: 1073741824"
FOREIGN = "Origin: http://evil.example"
LOUD = bash("head -c 300000000 /dev/zero | tr '\\0' x")

ATTACKS: dict[str, tuple[int, Attack, set[str]]] = {
    "wrong token": (FEW, partial(ask, data=request(bytes(2**20), token="another")), {"403"}),
    "missing token": (FEW, partial(ask, data=request(bytes(2**20), token=None)), {"401"}),
    "origin": (FEW, partial(ask, data=request(bash("true"), FOREIGN)), {"403"}),
    "slow heads": (MANY, partial(dribble, begin=b"POST /execute HT", rest=bytes(200)), {"closed"}),
    "slow bodies": (MANY, partial(dribble, begin=head("Content-Length: 200"), rest=b"[" * 200), {"408"}),
    "a gibibyte, told": (FEW, partial(pour, begin=head(GIB), piece=PIECE), {"413", "closed"}),
    CHUNKED: (
        FEW,
        partial(pour, begin=head("Transfer-Encoding: chunked"), piece=CHUNK),
        {"413", "closed"},
    ),
    "a gibibyte, without a token": (
        FEW,
        partial(pour, begin=head(GIB, token=None), piece=PIECE),
        {"401", "closed"},
    ),
    "deep JSON": (FEW, partial(ask, data=request(DEEP)), {"422"}),
    "invalid UTF-8": (FEW, partial(ask, data=request(b'{"trajectory_id": "\xff\xfe\xed\xa0\x80"}')), {"422"}),
    "flood of headers": (FEW, partial(ask, data=head()[:-2] + FLOOD + b"\r\n"), {"431", "closed"}),
    "one endless header": (
        FEW,
        partial(pour, begin=head()[:-2] + b"X: ", piece=b"y" * 65536),
        {"431", "closed"},
    ),
    "flood of pipelined requests": (
        FEW,
        partial(take_nothing, data=head(method="GET", path="/health") * 20_000),
        set(),
    ),
    "a reader of nothing, streamed, pipelined": (
        FEW,
        partial(take_nothing, data=request(LOUD, "Accept: text/event-stream") * 3),
        set(),
    ),
    "a reader of nothing, streamed": (
        FEW,
        partial(take_nothing, data=request(LOUD, "Accept: text/event-stream")),
        set(),
    ),
    "websocket, wrong token": (FEW, partial(speak, first=HELLO), {"101"}),
    "websocket, another page": (FEW, partial(ask, data=upgrade(FOREIGN)), {"403"}),
    "websocket, one huge frame": (FEW, partial(speak, first=frame(b"", told=2**30), piece=PIECE), {"101"}),
    "websocket, endless pieces": (
        FEW,
        partial(speak, first=frame(PIECE, last=False), piece=frame(PIECE, opcode=0, last=False)),
        {"101"},
    ),
    "websocket, no hello": (MANY, partial(speak, first=b""), {"101"}),
}
"""Connections at once, what each does again and again, and what it may hear."""


@pytest.fixture(scope="module")
def victim(serve_program: Any, tmp_path_factory: pytest.TempPathFactory) -> Victim:
    """A server with its ordinary limits."""
    file = tmp_path_factory.mktemp("token") / "token"
    file.write_text(TOKEN)
    served = serve_program("--slots", "3", "--token-file", str(file))
    return Victim(served.port, served.process.pid)


@asynccontextmanager
async def under(victim: Victim, attack: Attack, *, connections: int) -> AsyncIterator[None]:
    """The body runs while so many connections attack, each again when it has ended."""

    async def go_on(task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        while True:
            with suppress(OSError):  # more connections than the server's backlog takes
                await attack(victim)

    async with trio.open_nursery() as nursery:
        for _ in range(connections):
            await nursery.start(go_on)
        yield
        nursery.cancel_scope.cancel()


async def serve_another(victim: Victim, number: int) -> None:
    """A client that means well: some of its calls on a connection that is kept, some on new ones."""
    headers = {"authorization": f"Bearer {TOKEN}"}
    call = {"trajectory_id": "other", "tool": {"name": "bash", "arguments": {"command": f"echo {number}"}}}
    for _ in range(CALLS // 2):
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{victim.port}", headers=headers, timeout=60
        ) as client:
            for _ in range(2):
                answer = await client.post("/execute", json=call)
                assert (answer.status_code, answer.json()["output"]) == (200, str(number))


@pytest.mark.parametrize("name", ATTACKS)
async def test_an_attack_is_refused_and_bounded_and_others_are_served(victim: Victim, name: str) -> None:
    """No call of another client fails; memory stays within its bound, and no connection is left."""
    connections, attack, heard = ATTACKS[name]
    await serve_another(victim, 0)
    victim.answers.clear()
    descriptors = victim.descriptors()
    before = victim.memory_mib("VmRSS")
    victim.forget_peak()
    async with under(victim, attack, connections=connections):
        await serve_another(victim, 1)
    grown = victim.memory_mib("VmHWM") - before
    assert set(victim.answers) <= heard
    assert grown < MAX_GROWN_MIB + (FEW * MAX_BODY_MIB if name == CHUNKED else 0)
    with trio.fail_after(30):
        while victim.descriptors() > descriptors:  # noqa: ASYNC110 - nothing tells of a connection's end
            await trio.sleep(0.05)
    await serve_another(victim, 7)
