"""Uploads and downloads: files and trees of any size, streamed under credit, verified, and gone on with.

A link that is cut meanwhile costs a latency: the session goes on over the next one, and with it the transfer.
One that ended for another reason (a limit, a cancel) can be gone on with from where it stood.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import trio
from attrs import define, evolve, field, frozen

from hermes_trio.errors import InvalidInputError, Provenance
from hermes_trio.executor.artifacts import ArtifactFailure, skipped_of, text_of_path
from hermes_trio.executor.files import (
    NO_SLOT,
    Answered,
    FileMethods,
    answer_of,
    failure_members,
    path_members,
)
from hermes_trio.executor.local_files import Local, naming, open_local, open_packed, open_unpacked
from hermes_trio.fleet.calls import CallRecord
from hermes_trio.fleet.uplink import Uplink
from hermes_trio.wire.frames import Output
from hermes_trio.wire.operations import FileFailure, Operation

WINDOW_BYTES: Final = 8 * 1024 * 1024
"""Of a download, may be under way and not yet written here."""
LIMIT_S: Final = 24 * 3600.0
"""Transfers have no size; what takes longer has hung."""
_PIECE_BYTES: Final = 1024 * 1024


@frozen(kw_only=True)
class Transfer(ArtifactFailure):
    """How an upload or a download went.

    Args:
        path: in the workspace, as it was asked for.
        size: of the file, or of the tree's archive, in bytes.
        sha256: likewise; the same at both ends.
        sent_bytes: how much of it travelled: less than ``size`` when it was gone on with.
        entries: of a tree; ``None``: it was a file.
        skipped: what of a tree was left out, and why; the first hundred.
    """

    path: str
    size: int = 0
    sha256: str = ""
    sent_bytes: int = 0
    entries: int | None = None
    skipped: Mapping[str, str] = field(factory=dict)


@define(eq=False)
class _Inflow:
    """What has come of a download and was not written yet."""

    _chunks: deque[bytes] = field(factory=deque)
    _news: trio.Event = field(factory=trio.Event)
    _over: bool = False
    granted_bytes: int = WINDOW_BYTES
    taken_bytes: int = 0

    def hear(self, output: Output) -> None:
        self._chunks.append(output.payload)
        self._news.set()

    def finish(self) -> None:
        """Nothing more will come."""
        self._over = True
        self._news.set()

    async def take(self) -> list[bytes]:
        """The chunks that are there, up to a piece; none at the end. Cancellation: atomic."""
        await trio.lowlevel.checkpoint()
        while not self._chunks and not self._over:
            self._news = trio.Event()
            await self._news.wait()
        chunks = []
        size = 0
        while self._chunks and size < _PIECE_BYTES:
            chunks.append(self._chunks.popleft())
            size += len(chunks[-1])
        self.taken_bytes += size
        return chunks


class TransferMethods(FileMethods):
    """Mixed into the executor, which brings the road."""

    async def upload(
        self,
        trajectory_id: str,
        local_path: str | os.PathLike[str],
        path: str | bytes,
        *,
        mode: int | None = None,
        resume: bool = False,
        limit_s: float = LIMIT_S,
    ) -> Transfer:
        """Send a file, or a folder with all that is in it, into the trajectory's workspace.

        A file appears there when all of it has come and its SHA-256 is right. A folder is unpacked into
        ``path``, over what is there. Missing folders are made. Memory does not depend on the size.

        Cancellation: abandons. What came of a file is kept beside its place, as ``.<name>.part``.

        Args:
            trajectory_id: whose workspace. One that has no slot is answered ``unavailable``.
            local_path: on this machine.
            path: in the workspace.
            mode: permission bits of a file; ``None``: those of the file that is replaced, else 0644.
            resume: go on with an upload of this very file that broke off, if something of it is there.
            limit_s: seconds it may take; the default is a day.

        Raises:
            ClosedError: the executor was closed.
            InvalidInputError: the local file cannot be read.
        """
        local = Path(local_path)
        is_tree = await trio.to_thread.run_sync(local.is_dir)
        arguments = {**path_members(path), "unpack": is_tree}
        if mode is not None:
            arguments["mode"] = mode
        offset = 0
        if resume and not is_tree:
            offset = await self._there_already(trajectory_id, path)
            arguments["offset"] = offset
        opened = open_packed(local) if is_tree else open_local(local, "rb")
        answer, source = await self._send(trajectory_id, opened, arguments, offset, limit_s)
        text = text_of_path(path)
        if answer.failure:
            return Transfer(path=text, sent_bytes=source.size - offset, **answer.failure)
        return _transferred(answer, text, source, source.size - offset, "sha256")

    async def _there_already(self, trajectory_id: str, path: str | bytes) -> int:
        folder, name = os.path.split(path if isinstance(path, bytes) else os.fsencode(path))
        partial = os.path.join(folder, b"." + name[: _MAX_NAME - 6] + b".part")
        return (await self.read_artifact(trajectory_id, partial, max_bytes=0)).file_size or 0

    async def _send(
        self,
        trajectory_id: str,
        opened: AbstractAsyncContextManager[Local],
        arguments: Mapping[str, Any],
        offset: int,
        limit_s: float,
    ) -> tuple[Answered, Local]:
        async with opened as source:
            if not self.has_slot(trajectory_id):
                return Answered(data={}, failure=failure_members(Provenance.UNAVAILABLE, NO_SLOT)), source
            await source.skip(offset)
            record = await self.push(
                Operation.UPLOAD, trajectory_id, source, arguments=arguments, limit_s=limit_s
            )
        return answer_of(record), source

    async def push(
        self,
        operation: Operation,
        trajectory_id: str,
        source: Local,
        *,
        arguments: Mapping[str, Any],
        limit_s: float,
    ) -> CallRecord:
        """A call that is fed: all of the source, and its digest behind it. It has ended.

        Cancellation: abandons.
        """
        uplink = Uplink()
        record = CallRecord(
            operation=operation,
            arguments=arguments,
            trajectory_id=trajectory_id,
            limit_s=limit_s,
            uplink=uplink,
        )
        async with _helped_by(partial(_feed, source, uplink)) as helper:
            await self.operate(record)
            helper.cancel()
        return record

    async def download(
        self,
        trajectory_id: str,
        path: str | bytes,
        local_path: str | os.PathLike[str],
        *,
        resume: bool = False,
        limit_s: float = LIMIT_S,
    ) -> Transfer:
        """Fetch a file, or a folder with all that is in it, from the trajectory's workspace.

        A file appears here when all of it has come and its SHA-256 is right. A folder is unpacked into
        ``local_path``; it comes from a slot, so what would lead out of there is left out and told, and others
        may not write to what was unpacked. Memory does not depend on the size.

        Cancellation: abandons. What came of a file is kept as ``<local_path>.part``.

        Args:
            trajectory_id: whose workspace. One that has no slot is answered ``unavailable``.
            path: in the workspace.
            local_path: on this machine.
            resume: go on with a download of this very file that broke off, if something of it is here.
            limit_s: seconds it may take; the default is a day.

        Raises:
            ClosedError: the executor was closed.
            InvalidInputError: the local file cannot be written.
        """
        local = Path(local_path)
        transfer = await self._fetch_file(trajectory_id, path, local, resume=resume, limit_s=limit_s)
        if transfer.reason != FileFailure.NOT_REGULAR:
            return transfer
        tree = await self._fetch_tree(trajectory_id, path, local, limit_s=limit_s)
        return transfer if tree.reason == FileFailure.NOT_DIRECTORY else tree

    async def _fetch_file(
        self, trajectory_id: str, path: str | bytes, local: Path, *, resume: bool, limit_s: float
    ) -> Transfer:
        partial = local.with_name(local.name + ".part")
        offset = await trio.to_thread.run_sync(_size_of, partial) if resume else 0
        arguments = {**path_members(path), "offset": offset, "sha256": offset > 0}
        text = text_of_path(path)
        async with open_local(partial, "r+b" if offset else "w+b") as target:
            await target.skip(offset)
            answer = await self._fetch(trajectory_id, arguments, target, limit_s)
        if answer.failure:
            if not target.size:
                await trio.to_thread.run_sync(partial.unlink)
            return Transfer(path=text, sent_bytes=target.size - offset, **answer.failure)
        transfer = _transferred(
            answer, text, target, target.size - offset, "sha256" if offset else "sent_sha256"
        )
        if transfer.success:
            with naming(local):
                await trio.to_thread.run_sync(os.replace, partial, local)
        else:
            await trio.to_thread.run_sync(partial.unlink)
        return transfer

    async def _fetch_tree(
        self, trajectory_id: str, path: str | bytes, local: Path, *, limit_s: float
    ) -> Transfer:
        await trio.lowlevel.checkpoint()
        arguments = {**path_members(path), "packing": "tar"}
        text = text_of_path(path)
        answer, target = Answered(data={}, failure={}), Local()
        try:
            async with open_unpacked(local) as target:
                answer = await self._fetch(trajectory_id, arguments, target, limit_s)
        except InvalidInputError:
            if not answer.failure:  # else the archive is cut off because of that
                raise
        if answer.failure:
            return Transfer(path=text, sent_bytes=target.size, **answer.failure)
        transfer = _transferred(answer, text, target, target.size, "sent_sha256")
        return evolve(transfer, skipped={**target.skipped, **transfer.skipped})

    async def _fetch(
        self, trajectory_id: str, arguments: Mapping[str, Any], target: Local, limit_s: float
    ) -> Answered:
        if not self.has_slot(trajectory_id):
            await trio.lowlevel.checkpoint()
            return Answered(data={}, failure=failure_members(Provenance.UNAVAILABLE, NO_SLOT))
        record = await self.pull(
            Operation.DOWNLOAD, trajectory_id, target, arguments=arguments, limit_s=limit_s
        )
        return answer_of(record)

    async def pull(
        self,
        operation: Operation,
        trajectory_id: str,
        target: Local,
        *,
        arguments: Mapping[str, Any],
        limit_s: float,
    ) -> CallRecord:
        """A call whose output is written as it comes, as fast as that goes. It has ended.

        Cancellation: abandons.
        """
        inflow = _Inflow()
        record = CallRecord(
            operation=operation,
            arguments=arguments,
            trajectory_id=trajectory_id,
            limit_s=limit_s,
            output_credit=WINDOW_BYTES,
            on_output=inflow.hear,
        )
        async with _helped_by(partial(self._drain, record, inflow, target)):
            await self.operate(record)
            inflow.finish()
        return record

    async def _drain(self, record: CallRecord, inflow: _Inflow, target: Local) -> None:
        while chunks := await inflow.take():
            await target.write(chunks)
            if inflow.granted_bytes - inflow.taken_bytes <= WINDOW_BYTES // 2:
                inflow.granted_bytes = inflow.taken_bytes + WINDOW_BYTES
                self.grant(record, inflow.granted_bytes)


_MAX_NAME: Final = 255


@asynccontextmanager
async def _helped_by(help_: Callable[[], Awaitable[None]]) -> AsyncIterator[trio.CancelScope]:
    """A task beside the body. When its end of the transfer fails, the body is cancelled, and that is raised.

    Cancellation: abandons.

    Raises:
        InvalidInputError, OSError: a local file cannot be read or written.
    """
    failures: list[Exception] = []

    async def run() -> None:
        await trio.lowlevel.checkpoint()
        try:
            await help_()
        except (InvalidInputError, OSError) as exc:
            failures.append(exc)
            nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        yield nursery.cancel_scope
    if failures:
        raise failures[0]


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


async def _feed(source: Local, uplink: Uplink) -> None:
    """All of it, and then its digest."""
    while piece := await source.read():
        if not await uplink.send(piece):
            return
    await uplink.send(source.digest)
    uplink.end()


def _transferred(answer: Answered, path: str, local: Local, sent_bytes: int, digest: str) -> Transfer:
    """A success, if both ends have the same."""
    ours, theirs = local.digest.hex(), answer.data.get(digest)
    if ours != theirs:
        text = f"the SHA-256 here is {ours}, there {theirs}"
        return Transfer(path=path, **failure_members(Provenance.INTERNAL_ERROR, text))
    return Transfer(
        success=True,
        path=path,
        size=local.size,
        sha256=ours,
        sent_bytes=sent_bytes,
        entries=answer.data.get("entries"),
        skipped=skipped_of(answer.data),
    )
