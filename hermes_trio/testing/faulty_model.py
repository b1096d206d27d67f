"""Model servers that misbehave, over real sockets: what a client must survive, by name.

:func:`open_raw_server` serves whatever a handler writes, byte by byte, and counts connections;
:data:`FAULTS` are handlers for the ways in which model servers and what stands before them fail. Use them to
see what your own code does with a server that hangs::

    async with open_raw_server(FAULTS["hangs"]) as server, ChatClient(server.url) as client:
        with trio.move_on_after(1.0):
            await client.complete(messages)
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from types import MappingProxyType

import trio
from attrs import define, field

from hermes_trio.link.background import open_background_nursery

Handler = Callable[[trio.SocketStream, bytes], Awaitable[None]]
"""Answers one request, given whole, head and body."""

COMPLETION = json.dumps(
    {
        "object": "chat.completion",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4},
    }
).encode()
"""The body of an answer with nothing wrong in it."""

HUGE_CONTENT_BYTES = 10 * 1024 * 1024


@define(eq=False)
class RawServer:
    """A server whose handler writes raw bytes.

    Attributes:
        url: what a client is given.
        opened: connections that were ever opened.
        open_now: those that are open.
        requests: all that came, whole.
    """

    handler: Handler
    url: str = ""
    opened: int = 0
    open_now: int = 0
    requests: list[bytes] = field(factory=list, repr=False)
    _changed: trio.Event = field(factory=trio.Event, init=False, repr=False)

    async def serve(self, stream: trio.SocketStream) -> None:
        """One connection, until the client closes it or the handler does.

        Cancellation: *abandons*.
        """
        self.opened += 1
        self._open(1)
        try:
            while request := await _read_request(stream):
                self.requests.append(request)
                await self.handler(stream, request)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            await trio.aclose_forcefully(stream)
            self._open(-1)

    def _open(self, change: int) -> None:
        self.open_now += change
        self._changed.set()
        self._changed = trio.Event()

    async def wait_open(self, connections: int) -> None:
        """Until so many connections are open.

        Cancellation: *atomic*.
        """
        await trio.lowlevel.checkpoint()
        while self.open_now != connections:
            await self._changed.wait()


async def _read_request(stream: trio.SocketStream) -> bytes:
    """One request with its body, or nothing at the end of the connection."""
    data = b""
    await trio.lowlevel.checkpoint()
    while b"\r\n\r\n" not in data:
        chunk = await stream.receive_some()
        if not chunk:
            return b""
        data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    while len(body) < sum(lengths):
        body += await stream.receive_some()
    return head + b"\r\n\r\n" + body


@asynccontextmanager
async def open_raw_server(handler: Handler) -> AsyncIterator[RawServer]:
    """A server on a free port of this machine until the end of the block.

    Cancellation: *atomic*: leaving the block closes every connection.
    """
    server = RawServer(handler)
    async with open_background_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, server.serve, 0, host="127.0.0.1"))
        server.url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}/v1"
        yield server


def http_answer(
    body: bytes, *, status: str = "200 OK", headers: str = "", length: int | None = None
) -> bytes:
    """A whole HTTP answer; ``length`` is what it says about its body, ``None``: the truth."""
    size = len(body) if length is None else length
    return f"HTTP/1.1 {status}\r\nContent-Length: {size}\r\n{headers}\r\n".encode() + body


def always(data: bytes, *, close: bool = False) -> Handler:
    """A handler that answers every request with these bytes, and may close behind them."""

    async def handle(stream: trio.SocketStream, _request: bytes) -> None:
        await stream.send_all(data)
        if close:
            await stream.aclose()

    return handle


def streamed(*events: str, end: bytes = b"0\r\n\r\n", close: bool = False) -> Handler:
    """A handler that streams these events, and then ends the HTTP message with ``end``, or not."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    pieces = (f"data: {event}\n\n".encode() for event in events)
    return always(head + b"".join(b"%x\r\n%b\r\n" % (len(each), each) for each in pieces) + end, close=close)


async def _hang(stream: trio.SocketStream, _request: bytes) -> None:
    while await stream.receive_some():
        pass
    await stream.aclose()


async def _drip(stream: trio.SocketStream, _request: bytes) -> None:
    await trio.lowlevel.checkpoint()
    for at in range(len(_LONG)):
        await stream.send_all(_LONG[at : at + 1])
        # It is what this fault does, not a wait for anything.
        await trio.sleep(1.0)


_LONG = http_answer(COMPLETION)
_DELTA = json.dumps({"choices": [{"index": 0, "delta": {"content": "hel"}}]})
_HUGE = json.dumps({"choices": [{"message": {"content": "x" * HUGE_CONTENT_BYTES}, "finish_reason": "stop"}]})

FAULTS: Mapping[str, Handler] = MappingProxyType(
    {
        "hangs": _hang,
        "half a body": always(_LONG[:-20], close=True),
        "invalid JSON": always(http_answer(b'{"choices": [')),
        "closes mid-stream": streamed(_DELTA, end=b"", close=True),
        "one byte a second": _drip,
        "10 MB of content": always(http_answer(_HUGE.encode())),
        "429 for ever": always(
            http_answer(b"{}", status="429 Too Many Requests", headers="Retry-After: 0\r\n")
        ),
        "redirects": always(http_answer(b"", status="307 Temporary Redirect", headers="Location: /v1\r\n")),
        "promises more than it sends": always(http_answer(COMPLETION, length=len(COMPLETION) + 9)),
        "sends more than it promises": always(http_answer(COMPLETION, length=len(COMPLETION) - 9)),
    }
)
"""By what the server does. All but the streamed one answer in one piece, whatever was asked for."""
