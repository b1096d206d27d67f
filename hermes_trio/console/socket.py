"""One watcher's websocket: who it is, what it is sent, and what it asks for.

Theory of operation. Three tasks for each connection. The *writer* is the only one that sends; what is to be
sent waits in a bounded channel. The *ticker* makes a message of what has changed four times a second, and
only when the message before has left: a slow watcher is told less often, of the newest state, and costs
nothing. The *reader* takes subscriptions and commands; a command is carried out in a task of its own, a few
at a time.

Bytes are rationed by a bucket that fills at :data:`BYTES_PER_S`: what a message may hold is what is in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

import orjson
import trio
from attrs import define, field
from starlette.websockets import WebSocket, WebSocketDisconnect

from hermes_trio.console.access import handshake_objection
from hermes_trio.console.attach import Terminals
from hermes_trio.console.commands import Order, answer
from hermes_trio.console.delta import Watcher
from hermes_trio.console.hub import ConsoleHub
from hermes_trio.link.auth import TokenGate

TICK_S: Final = 0.25
BYTES_PER_S: Final = 190_000
MAX_TICK_BYTES: Final = 46_000
BURST_BYTES: Final = 64_000
HELLO_LIMIT_S: Final = 10.0
SEND_LIMIT_S: Final = 20.0
"""A watcher that takes nothing for so long is gone, or as good as that."""
MAX_WATCHERS: Final = 32
MAX_MESSAGE_CHARS: Final = 64 * 1024
MAX_COMMANDS: Final = 8
"""Of one watcher, under way at once; more wait unread."""
REFUSED: Final = 4401
FULL: Final = 4429


class _Refused(Exception):
    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


@define
class _Bucket:
    """Bytes that may be sent."""

    level: float = BURST_BYTES
    filled_at: float = field(factory=trio.current_time)

    def fill(self) -> int:
        now = trio.current_time()
        self.level = min(BURST_BYTES, self.level + (now - self.filled_at) * BYTES_PER_S)
        self.filled_at = now
        return int(self.level)

    def take(self, count: int) -> None:
        """What was asked for is sent whole; afterwards nothing else for a second, and not for a minute."""
        self.level = max(self.level - count, -float(BYTES_PER_S))


@define(eq=False)
class ConsoleSocket:
    """Serves the websockets of a hub.

    Args:
        hub: what is watched.
        gate: of tokens; ``None``: this machine's own addresses need none.
    """

    hub: ConsoleHub
    gate: TokenGate | None
    connections: int = field(default=0, init=False)

    async def serve(self, websocket: WebSocket) -> None:
        """One connection, from its handshake to its end.

        Cancellation: abandons: terminals that it was attached to are left.
        """
        headers = websocket.headers
        objection = handshake_objection(
            origin=headers.get("origin"), host=headers.get("host"), has_token=self.gate is not None
        )
        if objection is not None:
            await websocket.close(1008, objection)
            return
        await websocket.accept()
        self.connections += 1
        refused = None
        try:
            await self._admit(websocket)
            with self.hub.watched() as watcher:
                await _Connection(self.hub, websocket, watcher).run()
        except* _Refused as group:
            refused = group.exceptions[0]
        except* WebSocketDisconnect:
            pass
        finally:
            self.connections -= 1
        while isinstance(refused, BaseExceptionGroup):
            refused = refused.exceptions[0]
        if isinstance(refused, _Refused):
            with suppress(WebSocketDisconnect):
                await websocket.close(refused.code, refused.reason)

    async def _admit(self, websocket: WebSocket) -> None:
        if self.connections > MAX_WATCHERS:
            raise _Refused(FULL, f"{MAX_WATCHERS} consoles are open already")
        message = None
        with trio.move_on_after(HELLO_LIMIT_S):
            message = _parsed(await websocket.receive_text())
        if message is None or message.get("t") != "hello":
            raise _Refused(REFUSED, "the first message is a hello")
        token = message.get("token")
        if self.gate is not None and not self.gate(f"Bearer {token if isinstance(token, str) else ''}"):
            raise _Refused(REFUSED, "The token was refused." if token else "A token is needed.")


def _parsed(text: str) -> Mapping[str, Any]:
    if len(text) > MAX_MESSAGE_CHARS:
        raise _Refused(1009, "the message is too long")
    try:
        message = orjson.loads(text)
    except orjson.JSONDecodeError:
        message = None
    if not isinstance(message, dict):
        raise _Refused(1007, "a message is a JSON object")
    return message


@define(eq=False)
class _Connection:
    hub: ConsoleHub
    websocket: WebSocket
    watcher: Watcher
    bucket: _Bucket = field(factory=_Bucket)
    terminals: Terminals = field(init=False)
    _out: trio.MemorySendChannel[bytes | str] = field(init=False)
    _to_send: trio.MemoryReceiveChannel[bytes | str] = field(init=False)
    _limiter: trio.Semaphore = field(factory=lambda: trio.Semaphore(MAX_COMMANDS))

    def __attrs_post_init__(self) -> None:
        self._out, self._to_send = trio.open_memory_channel[bytes | str](16)

    @property
    def who(self) -> str:
        client = self.websocket.client
        return f"{client.host}:{client.port}" if client else "somebody"

    async def run(self) -> None:
        await self.hub.wait_fresh()
        async with trio.open_nursery() as nursery:
            self.terminals = Terminals(
                open_terminal=self.hub.open_terminal,
                recordings=self.hub.recordings,
                send=self._out.send,
                nursery=nursery,
            )
            nursery.start_soon(self._write, nursery.cancel_scope)
            welcome = {**self.hub.welcome(), "features": ["stack", *self.terminals.features]}
            await self._out.send(orjson.dumps(welcome).decode())
            nursery.start_soon(self._tick)
            try:
                await self._read(nursery)
            finally:
                nursery.cancel_scope.cancel()

    # --- sending --------------------------------------------------------------------------------------

    async def _write(self, connection: trio.CancelScope) -> None:
        async for message in self._to_send:
            self.bucket.take(len(message))
            with trio.move_on_after(SEND_LIMIT_S) as scope:
                if isinstance(message, str):
                    await self.websocket.send_text(message)
                else:
                    await self.websocket.send_bytes(message)
            if scope.cancelled_caught:
                connection.cancel()

    async def _tick(self) -> None:
        due = trio.current_time()
        while True:
            due = max(due + TICK_S, trio.current_time())
            await trio.sleep_until(due)
            room = min(self.bucket.fill(), MAX_TICK_BYTES)
            if room < MAX_TICK_BYTES // 4 or self._out.statistics().current_buffer_used:
                continue
            message = self.watcher.message(
                self.hub.state, self.hub.feeds, now=trio.current_time(), max_bytes=room
            )
            await self._out.send(message.decode())

    # --- reading --------------------------------------------------------------------------------------

    async def _read(self, nursery: trio.Nursery) -> None:
        while True:
            message = await self.websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            data = message.get("bytes")
            if data:
                await self.terminals.keys(data[0], data[1:])
                continue
            await self._take(_parsed(message.get("text") or ""), nursery)

    async def _take(self, message: Mapping[str, Any], nursery: trio.Nursery) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        match message.get("t"):
            case "subscribe":
                self._subscribe(message)
            case "command":
                await self._limiter.acquire()
                nursery.start_soon(self._command, message)
            case "close":
                self.terminals.leave(message.get("channel"))
            case _:
                raise _Refused(1008, "a message is a subscribe, a command or a close")

    def _subscribe(self, message: Mapping[str, Any]) -> None:
        sections, trajectory = message.get("sections"), message.get("trajectory")
        named = [each for each in sections if isinstance(each, str)] if isinstance(sections, list) else []
        self.watcher.look_at(
            named,
            trajectory=trajectory if isinstance(trajectory, str) else None,
            feeds=self.hub.feeds,
        )

    async def _command(self, message: Mapping[str, Any]) -> None:
        try:
            arguments, name = message.get("args"), message.get("name")
            order = Order(
                self.hub,
                self.who,
                name if isinstance(name, str) else "",
                arguments if isinstance(arguments, dict) else {},
            )
            told = await answer(order, self.terminals.commands)
            await self._out.send(orjson.dumps({"t": "answer", "id": message.get("id"), **told}).decode())
        finally:
            self._limiter.release()
