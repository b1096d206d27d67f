"""Files and trees that are passed on piece by piece, to or from somebody else's stream: a server's client.

The same transfers as in ``transfer.py``, with callbacks where that has this machine's files: what the far end
does not take holds the slot back, by credit, and what the slot does not take holds the far end back.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import trio
from attrs import define, evolve, field

from hermes_trio.errors import Provenance
from hermes_trio.executor.artifacts import skipped_of, text_of_path
from hermes_trio.executor.files import failure_members, path_members
from hermes_trio.executor.local_files import Local
from hermes_trio.executor.transfer import LIMIT_S, Transfer, TransferMethods
from hermes_trio.wire.operations import Packing

Give = Callable[[], Awaitable[bytes]]
"""The next piece; empty at the end."""
Take = Callable[[bytes], Awaitable[None]]
"""Takes a piece; waits while the far end takes nothing."""


@define(eq=False, kw_only=True)
class _Stream(Local):
    """Somebody's stream, counted and hashed on the way like a file of this machine."""

    _give: Give | None = field(default=None, repr=False)
    _take: Take | None = field(default=None, repr=False)
    _promised: bytes | None = field(default=None, repr=False)
    _sha256: Any = field(factory=hashlib.sha256, repr=False)

    @property
    def digest(self) -> bytes:
        """What was promised; without a promise, that of what has gone by."""
        return self._promised or self._sha256.digest()

    async def read(self, most: int = 0) -> bytes:
        """The next piece. Cancellation: abandons."""
        assert self._give is not None
        piece = await self._give()
        self._see(piece)
        return piece

    async def write(self, chunks: Sequence[bytes]) -> None:
        """The next pieces. Cancellation: abandons."""
        assert self._take is not None
        await trio.lowlevel.checkpoint()
        for chunk in filter(None, chunks):  # an empty file comes as an empty chunk
            await self._take(chunk)
            self._see(chunk)

    async def skip(self, size: int) -> None:
        """So much of it is at the far end already, and is not seen here. Cancellation: atomic."""
        await trio.lowlevel.checkpoint()
        self.size += size

    def _see(self, data: bytes) -> None:
        self._sha256.update(data)
        self.size += len(data)


class StreamedFileMethods(TransferMethods):
    """Mixed into the executor, which brings the road."""

    async def receive_upload(
        self,
        trajectory_id: str,
        path: str | bytes,
        give: Give,
        *,
        unpack: bool = False,
        mode: int | None = None,
        offset: int = 0,
        sha256: bytes | None = None,
        limit_s: float = LIMIT_S,
    ) -> Transfer:
        """Send what somebody gives, piece by piece, into the trajectory's workspace.

        As :meth:`upload`: a file appears when all of it has come and its SHA-256 is right, and what came of
        one that broke off is kept as ``.<name>.part``.

        Cancellation: abandons.

        Args:
            trajectory_id: whose workspace. One that has no slot is answered ``unavailable``.
            path: in the workspace.
            give: the next piece, empty at the end.
            unpack: a tar archive comes; ``path`` is the folder that it is unpacked into.
            mode: permission bits of a file; ``None``: those of the file that is replaced, else 0644.
            offset: bytes of the file that came before, and are not given again.
            sha256: of the whole file, which is then refused if it is another; ``None``: nobody knows, which
                is not enough for an ``offset``.
            limit_s: seconds it may take; the default is a day.

        Raises:
            ClosedError: the executor was closed.
            InvalidInputError: a path that is none.
        """
        arguments: dict[str, Any] = {**path_members(path), "unpack": unpack}
        if mode is not None:
            arguments["mode"] = mode
        if offset:
            arguments["offset"] = offset
        source = _Stream(give=give, promised=sha256)
        answer, _ = await self._send(trajectory_id, _opened(source), arguments, offset, limit_s)
        text, sent = text_of_path(path), source.size - offset
        if answer.failure:
            return Transfer(path=text, sent_bytes=sent, **answer.failure)
        return Transfer(
            success=True,
            path=text,
            size=source.size,
            sha256=source.digest.hex(),
            sent_bytes=sent,
            entries=answer.data.get("entries"),
            skipped=skipped_of(answer.data),
        )

    async def send_download(
        self,
        trajectory_id: str,
        path: str | bytes,
        take: Take,
        *,
        packing: Packing = Packing.FILE,
        offset: int = 0,
        max_bytes: int | None = None,
        limit_s: float = LIMIT_S,
    ) -> Transfer:
        """Pass a file, or a folder as an archive, of the trajectory's workspace on, piece by piece.

        Cancellation: abandons.

        Args:
            trajectory_id: whose workspace. One that has no slot is answered ``unavailable``.
            path: in the workspace.
            take: is given each piece, and may make the slot wait.
            packing: how it comes.
            offset: of a file: the first byte wanted.
            max_bytes: of a file: bytes at most; ``None``: all.
            limit_s: seconds it may take; the default is a day.

        Returns:
            How it went; ``sha256`` is that of what came.

        Raises:
            ClosedError: the executor was closed.
            InvalidInputError: a path that is none.
        """
        arguments = {**path_members(path), "packing": packing, "offset": offset, "max_bytes": max_bytes}
        target = _Stream(take=take)
        answer = await self._fetch(trajectory_id, arguments, target, limit_s)
        passed = Transfer(success=True, path=text_of_path(path), size=target.size, sent_bytes=target.size)
        if answer.failure:
            return evolve(passed, size=0, **answer.failure)
        digest = target.digest.hex()
        if digest != answer.data.get("sent_sha256"):
            text = "what came is not what was sent"
            return evolve(passed, **failure_members(Provenance.INTERNAL_ERROR, text))
        entries, skipped = answer.data.get("entries"), skipped_of(answer.data)
        return evolve(passed, sha256=digest, entries=entries, skipped=skipped)


@asynccontextmanager
async def _opened(source: Local) -> AsyncIterator[Local]:
    await trio.lowlevel.checkpoint()
    yield source
