"""Requests: their bodies, bounded in size and time, and what they say."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import orjson
import trio
from starlette.requests import Request

from hermes_trio.api.limits import ApiLimits
from hermes_trio.api.payloads import read_payload
from hermes_trio.api.problems import ProblemError

T = TypeVar("T")


class BodyRoom:
    """Room for the JSON bodies of all requests together, from their first byte to their answer.

    A client may send 16 MiB, and there may be thousands of clients.

    Args:
        most: bytes.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: dict[Request, int] = {}
        self._sum = 0

    def __repr__(self) -> str:
        return f"<BodyRoom {self._sum} of {self._most} bytes>"

    def take(self, request: Request, size: int) -> None:
        """So many more bytes are held for a request.

        Raises:
            ProblemError: there is no room (503).
        """
        if self._sum + size > self._most:
            raise ProblemError(
                503, "the server holds as many requests as it may", headers={"retry-after": "1"}
            )
        self._held[request] = self._held.get(request, 0) + size
        self._sum += size

    def leave(self, request: Request) -> None:
        """A request is over."""
        self._sum -= self._held.pop(request, 0)


async def read_body(request: Request, limits: ApiLimits, room: BodyRoom) -> bytes:
    """All of a request's body.

    Cancellation: *abandons* the request.

    Raises:
        ProblemError: it is too long (413), or took too long (408), or others hold too much (503).
    """
    data = bytearray()

    async def take(piece: bytes) -> None:
        await trio.lowlevel.checkpoint()
        room.take(request, len(piece))
        data.extend(piece)

    with trio.move_on_after(limits.body_limit_s) as scope:
        await take_pieces(request, take, max_bytes=limits.max_body_bytes)
    if scope.cancelled_caught:
        raise ProblemError(408, f"the body did not come within {limits.body_limit_s:g} s")
    return bytes(data)


async def take_pieces(request: Request, take: Callable[[bytes], Awaitable[None]], *, max_bytes: int) -> None:
    """Hand a request's body on, piece by piece.

    Cancellation: *abandons* the request.

    Args:
        request: whose body was not read yet.
        take: is given each piece; while it waits, the client waits.
        max_bytes: of the whole.

    Raises:
        ProblemError: it is too long (413), which is said before anything is read where its head tells.
    """
    told = request.headers.get("content-length", "")
    if told.isdecimal() and int(told) > max_bytes:
        raise _too_long(max_bytes)
    size = 0
    while True:
        message = await request.receive()
        piece = message.get("body", b"")
        size += len(piece)
        if size > max_bytes:
            raise _too_long(max_bytes)
        if piece:
            await take(piece)
        if not message.get("more_body", False):
            return


def _too_long(max_bytes: int) -> ProblemError:
    return ProblemError(413, f"the body is longer than {max_bytes} bytes")


def parse_json(body: bytes) -> Any:
    """What a body says.

    Raises:
        ProblemError: it is no JSON, nests too deep, or is not UTF-8. 422, as in the ancestor.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ProblemError(422, f"the body is not JSON: {error.msg} at character {error.pos}") from None


async def read_request(request: Request, kind: type[T], limits: ApiLimits, room: BodyRoom) -> T:
    """A request's body as one of the payload classes.

    Cancellation: *abandons* the request.

    Raises:
        ProblemError: see :func:`read_body` and :func:`parse_json`.
        InvalidInputError: it is none of that class.
    """
    return read_payload(kind, parse_json(await read_body(request, limits, room)))
