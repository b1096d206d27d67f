"""Uploads: input frames into a worker's standard input, through a pipe."""

from __future__ import annotations

import contextlib
import fcntl
import os
from io import FileIO
from typing import Final, Protocol

import trio

from hermes_trio.errors import Provenance
from hermes_trio.wire.operations import UploadArguments
from sandbox_daemon.files.requests import check_limit_s, no_input, shown_path, upload_job
from sandbox_daemon.files.work import skipped_members
from sandbox_daemon.files.worker import Done, Job, checkpointed, run_job
from sandbox_daemon.process.outcome import Outcome
from sandbox_daemon.slots.requests import BadRequestError, file_failure
from sandbox_daemon.slots.turn import Turn

_PIPE_BYTES: Final = 1024 * 1024
"""Fewer changes of processes than with the usual 64 KiB; what an unprivileged process may ask for."""


class Source(Protocol):
    """Where input comes from."""

    async def receive(self) -> bytes:
        """The next chunk; empty at the end. Cancellation: atomic."""
        ...


async def run_upload(
    turn: Turn, arguments: UploadArguments, *, limit_s: float, source: Source | None
) -> Outcome:
    """See :meth:`SlotPool.upload`.

    Cancellation: shielded, at most 2.75 s: the worker is killed first.
    """
    if source is None:
        return await checkpointed(no_input())
    try:
        check_limit_s(limit_s, operation="file.upload")
        verb, what = upload_job(arguments)
    except BadRequestError as error:
        return await checkpointed(error.outcome)
    done = await _feed_job(turn, verb, what, limit_s=limit_s, source=source)
    if isinstance(done, Outcome):
        return done
    told = done.told
    if told.failed is not None:
        return file_failure(told.failed, path=shown_path(what["path"]), max_bytes=0)
    if told.refused or told.sha256 is None:
        text = told.refused or "the worker told no digest"
        return Outcome(provenance=Provenance.TOOL_ERROR, error=text)
    report = {"written_bytes": told.number("written"), "sha256": told.sha256}
    if arguments.unpack:
        report |= {"entries": told.number("entries"), **skipped_members(done)}
    return Outcome(data=report)


async def _feed_job(
    turn: Turn, verb: str, what: dict[str, object], *, limit_s: float, source: Source
) -> Done | Outcome:
    """The job, and beside it a task that feeds it until one of them is over.

    The pipe ends where the source does. When the caller leaves before, it stays open till the worker is dead:
    one that sees an end takes the last bytes for the digest, and throws away what could be gone on with.
    """
    reader, end = open_pipe()
    writer = FileIO(end, "w")
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_feed, source, writer)
            done = await run_job(turn, Job(verb=verb, what=what, limit_s=limit_s, stdin_fd=reader))
            nursery.cancel_scope.cancel()
    finally:
        os.close(reader)
        writer.close()
    return done


def open_pipe() -> tuple[int, int]:
    """A worker's standard input, and our end of it, which does not block."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(writer, False)
    with contextlib.suppress(OSError):  # the user's pages for pipes may be used up: then it is small
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    return reader, writer


async def _feed(source: Source, writer: FileIO) -> None:
    while piece := await source.receive():
        await write_whole(writer.fileno(), piece)
    writer.close()  # which is the end of the worker's input


async def write_whole(writer: int, data: bytes) -> None:
    """Into a pipe that does not block.

    Cancellation: abandons what was not written yet.

    Raises:
        BrokenPipeError: nobody reads any more.
    """
    await trio.lowlevel.checkpoint_if_cancelled()
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(writer, view) :]
        except BlockingIOError:
            await trio.lowlevel.wait_writable(writer)
