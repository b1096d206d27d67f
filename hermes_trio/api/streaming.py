"""Bodies of any length, in both directions: memory does not depend on it, and who is slow is dropped."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import trio
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from hermes_trio.api.problems import ProblemError, problem_response
from hermes_trio.errors import InvalidInputError, Provenance
from hermes_trio.executor.artifacts import ArtifactFailure, shown
from hermes_trio.executor.transfer import Transfer
from hermes_trio.wire.operations import FileFailure

_PIECE_BYTES = 64 * 1024
_STATUS_OF_REASON: Mapping[str, int] = {
    FileFailure.DENIED: 403,
    FileFailure.NOT_FOUND: 404,
    FileFailure.NOT_REGULAR: 409,
    FileFailure.NOT_DIRECTORY: 409,
    FileFailure.TOO_LARGE: 413,
    FileFailure.TOO_MANY: 413,
    FileFailure.NO_SPACE: 413,
    FileFailure.OTHER: 409,
}
_STATUS_OF_PROVENANCE: Mapping[Provenance, int] = {
    Provenance.INVALID_REQUEST: 422,
    Provenance.SANDBOX_LOST: 410,
    Provenance.LINK_LOST: 410,
    Provenance.DENIED: 403,
    Provenance.LIMIT_EXCEEDED: 408,
    Provenance.CANCELLED: 409,  # by somebody else: the slot was released, for instance
    Provenance.UNAVAILABLE: 409,
    Provenance.TOOL_ERROR: 409,
}


class StalledError(InvalidInputError):
    """A body comes too slowly. Of this kind so that a transfer, which it ends, passes it on."""


class BodyPieces:
    """A request's body, piece by piece. Whoever sends less than 64 KiB in ``stall_limit_s`` is given up.

    Only waiting for the client counts: while the slot takes nothing, the client cannot send.

    Args:
        request: whose body was not read yet.
        stall_limit_s: see :class:`~hermes_trio.api.limits.ApiLimits`.
    """

    def __init__(self, request: Request, *, stall_limit_s: float) -> None:
        self._request = request
        self._stall_limit_s = self._left_s = stall_limit_s
        self._since_bytes = 0
        self._over = False

    async def give(self) -> bytes:
        """The next piece; empty at the end.

        Cancellation: *abandons* the request.

        Raises:
            StalledError: it does not come.
        """
        while not self._over:
            piece = await self._next()
            if piece:
                return piece
        await trio.lowlevel.checkpoint()
        return b""

    async def _next(self) -> bytes:
        began = trio.current_time()
        with trio.move_on_after(self._left_s) as scope:
            message = await self._request.receive()
        if scope.cancelled_caught:
            raise StalledError(f"the body did not come at 64 KiB in {self._stall_limit_s:g} s")
        self._left_s -= trio.current_time() - began
        piece: bytes = message.get("body", b"")
        self._over = not message.get("more_body", False)
        self._since_bytes += len(piece)
        if self._since_bytes >= _PIECE_BYTES:
            self._since_bytes, self._left_s = 0, self._stall_limit_s
        return piece


Take = Callable[[bytes], Awaitable[None]]
Produce = Callable[[Take], Awaitable[Transfer]]


class DownloadResponse(Response):
    """Passes on what a transfer brings.

    Its head leaves with the first piece: what fails before that is a problem like any. What fails later can
    only be cut off: the client sees that the end is missing.

    Args:
        produce: the transfer; is given what takes its pieces.
        status: of the answer, if it succeeds.
        headers: likewise.
        length: bytes that the headers promise; ``None``: they promise none.
    """

    def __init__(
        self, produce: Produce, *, status: int = 200, headers: Mapping[str, str], length: int | None = None
    ) -> None:
        super().__init__(status_code=status, headers=headers)
        if length is None:
            del self.headers["content-length"]  # of the empty body that it does not have
        self._produce = produce
        self._length = length

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it all. Cancellation: *poisons* the connection."""
        head = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        sent = 0

        async def take(piece: bytes) -> None:
            nonlocal sent
            if not sent:
                await send(head)
            sent += len(piece)
            await send({"type": "http.response.body", "body": piece, "more_body": True})

        try:
            transfer = await self._produce(take)
        except ProblemError as problem:
            if sent:
                raise
            await problem_response(problem)(scope, receive, send)
            return
        if not sent and not transfer.success:
            await problem_response(failure_problem(transfer))(scope, receive, send)
            return
        if not sent:
            await send(head)
        if transfer.success and self._length in (None, sent):
            await send({"type": "http.response.body", "body": b"", "more_body": False})


def failure_problem(failure: ArtifactFailure, *, field: str = "path") -> ProblemError:
    """The refusal that a transfer's failure amounts to.

    Args:
        failure: why there is none.
        field: what of the request it is about.
    """
    status = _STATUS_OF_REASON.get(failure.reason) or _STATUS_OF_PROVENANCE.get(failure.provenance, 503)
    return ProblemError(status, shown(failure.error), field=field)
