"""The client of the arms that are reached over HTTP: h11 over one kept connection for each trajectory.

No client library: a pool costs more than the server that is measured, and both arms would carry the same
weight, which makes any two servers look alike.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final
from urllib.parse import urlsplit

import h11
import orjson
import trio

from benchmarks.arms.base import Execute
from benchmarks.lib.load import CallOutcome
from hermes_trio.errors import LostError

_PIECE_BYTES: Final = 64 * 1024


class HttpConnection:
    """One connection, one request at a time. Its owner closes the stream."""

    def __init__(self, stream: trio.SocketStream, host: str) -> None:
        self._stream = stream
        self._host = host
        self._http = h11.Connection(our_role=h11.CLIENT)

    async def post(self, path: str, body: bytes) -> tuple[int, bytes]:
        """One request; its status and the whole answer.

        Cancellation: *poisons*.

        Raises:
            LostError: the server closed the connection instead of answering.
        """
        headers = [
            ("host", self._host),
            ("content-type", "application/json"),
            ("content-length", str(len(body))),
        ]
        sent = self._http.send(h11.Request(method="POST", target=path, headers=headers)) or b""
        sent += self._http.send(h11.Data(data=body)) or b""
        sent += self._http.send(h11.EndOfMessage()) or b""
        await self._stream.send_all(sent)
        return await self._answer()

    async def _answer(self) -> tuple[int, bytes]:
        status, pieces = 0, list[bytes]()
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                self._http.receive_data(await self._stream.receive_some(_PIECE_BYTES))
            elif isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                pieces.append(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                self._http.start_next_cycle()
                return status, b"".join(pieces)
            else:
                raise LostError(f"the server answered with {event!r}")


class HttpCalls:
    """Runs calls, each trajectory's over a connection of its own."""

    def __init__(self, url: str, connections: AsyncExitStack) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        self._address = parts.hostname, parts.port
        self._connections = connections
        self._connection_of: dict[str, HttpConnection] = {}

    async def execute(
        self, trajectory_id: str, tool: str, arguments: Mapping[str, Any], limit_s: float
    ) -> CallOutcome:
        """One ``POST /execute``.

        Cancellation: *poisons* the trajectory's connection.
        """
        connection = self._connection_of.get(trajectory_id)
        if connection is None:
            connection = self._connection_of[trajectory_id] = await self._connect()
        body = {
            "trajectory_id": trajectory_id,
            "tool": {"name": tool, "arguments": dict(arguments)},
            "timeout_s": limit_s,
        }
        try:
            status, answer = await connection.post("/execute", orjson.dumps(body))
        except BaseException:
            # Servers close what was idle while others were measured: warming up finds that, and comes anew.
            del self._connection_of[trajectory_id]
            raise
        if status != 200:
            return CallOutcome(ok=False, reason=f"status {status}: {answer[:200]!r}")
        result = orjson.loads(answer)
        return CallOutcome(ok=result["success"], reason="" if result["success"] else result["error"])

    async def _connect(self) -> HttpConnection:
        stream = await trio.open_tcp_stream(*self._address)
        await self._connections.enter_async_context(stream)
        return HttpConnection(stream, "{}:{}".format(*self._address))


@asynccontextmanager
async def open_http_calls(url: str) -> AsyncIterator[Execute]:
    """A caller of the server at this URL. Connections are opened by the first call of each trajectory.

    Cancellation: *abandons* requests under way.
    """
    async with AsyncExitStack() as connections:
        yield HttpCalls(url, connections).execute
