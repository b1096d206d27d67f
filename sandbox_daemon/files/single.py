"""One file at a time, by the agent: reading, writing, editing."""

from __future__ import annotations

import os
import stat
from typing import Any, Final

import trio

from hermes_trio.errors import Provenance
from hermes_trio.wire.operations import EditFileArguments, ReadFileArguments, WriteFileArguments
from sandbox_daemon.agent import protocol
from sandbox_daemon.files.edits import EditError, replace_text
from sandbox_daemon.files.lines import LineRange
from sandbox_daemon.files.worker import checkpointed
from sandbox_daemon.process.link import Message
from sandbox_daemon.process.outcome import Outcome
from sandbox_daemon.process.running import memory_file
from sandbox_daemon.slots.cell import Cell
from sandbox_daemon.slots.requests import (
    MAX_FILE_BYTES,
    BadRequestError,
    check_max_bytes,
    check_mode,
    check_range,
    file_failure,
    path_bytes,
)
from sandbox_daemon.slots.turn import Turn
from sandbox_daemon.slots.work import RELEASED, ask_cell

_PIECE_BYTES: Final = 1 << 20
MAX_SCANNED_BYTES: Final = 1 << 30
"""Of a file whose lines are asked for: reading further would hold up the slot for more than a second."""


async def run_read(turn: Turn, arguments: ReadFileArguments) -> Outcome:
    """See :meth:`SlotPool.read_file`.

    Cancellation: abandons; a read under way is waited for.
    """
    try:
        check_max_bytes(arguments.max_bytes, operation="read_file")
        check_range(arguments)
        path = path_bytes(arguments.path, operation="read_file")
    except BadRequestError as error:
        return await checkpointed(error.outcome)
    flags, offset = protocol.READ_WHOLE, 0
    if arguments.start_line is not None or arguments.end_line is not None:
        flags = protocol.READ_OPEN
    elif arguments.offset is not None:
        flags, offset = 0, arguments.offset
    async with turn as cell:
        answer = await ask_cell(cell, protocol.READ, (offset, arguments.max_bytes, flags), (path,))
        if isinstance(answer, Outcome):
            return answer
        try:
            return await _read_outcome(answer, arguments)
        finally:
            answer.drop()
    return RELEASED


async def _read_outcome(answer: Message, arguments: ReadFileArguments) -> Outcome:
    if answer.kind == protocol.FAILED:
        failure = file_failure(answer.fixed, path=arguments.path, max_bytes=arguments.max_bytes)
        return await checkpointed(failure)
    if arguments.start_line is not None or arguments.end_line is not None:
        return await _lines_outcome(answer, arguments)
    file_bytes, offset = answer.fixed[0], arguments.offset or 0
    content = answer.strings[0]
    if answer.descriptors:
        size = min(arguments.max_bytes, max(0, file_bytes - offset))
        content = await trio.to_thread.run_sync(_read_all, answer.descriptors[0], offset, size)
    else:
        await trio.lowlevel.checkpoint()
    data: dict[str, Any] = {"file_bytes": file_bytes}
    if arguments.offset is not None:
        data["truncated"] = offset + len(content) < file_bytes
    return Outcome(data=data, segments=(len(content),), payload=content)


async def _lines_outcome(answer: Message, arguments: ReadFileArguments) -> Outcome:
    first = arguments.start_line or 1
    wanted = LineRange(first=first, last=arguments.end_line, max_bytes=arguments.max_bytes)
    ended = await trio.to_thread.run_sync(_scan, answer.descriptors[0], wanted)
    data = {
        "file_bytes": answer.fixed[0],
        "truncated": wanted.truncated or not (ended or wanted.reached),
        "first_line": first,
        "last_line": wanted.last_line,
        "total_lines": wanted.total_lines if ended else None,
    }
    return Outcome(data=data, segments=(len(wanted.kept),), payload=wanted.kept)


def _is_file(descriptor: int) -> bool:
    """No agent of ours passes anything else, and reading that might block for ever."""
    return stat.S_ISREG(os.fstat(descriptor).st_mode)


def _scan(descriptor: int, wanted: LineRange) -> bool:
    """Whether the file has gone by to its end."""
    offset = 0
    while _is_file(descriptor) and offset < MAX_SCANNED_BYTES:
        piece = os.pread(descriptor, _PIECE_BYTES, offset)
        if not piece:
            return True
        if not wanted.feed(piece):
            return False
        offset += len(piece)
    return False


def _read_all(descriptor: int, offset: int, size: int) -> bytes:
    pieces = []
    while size > 0 and _is_file(descriptor):
        piece = os.pread(descriptor, min(size, _PIECE_BYTES), offset)
        if not piece:
            break
        pieces.append(piece)
        offset += len(piece)
        size -= len(piece)
    return b"".join(pieces)


async def run_write(turn: Turn, arguments: WriteFileArguments, *, content: bytes) -> Outcome:
    """See :meth:`SlotPool.write_file`.

    Cancellation: abandons; the file may or may not have been written, never half.
    """
    try:
        check_max_bytes(arguments.max_bytes, operation="write_file")
        check_mode(arguments.mode)
        path = path_bytes(arguments.path, operation="write_file")
        if len(content) > arguments.max_bytes:
            text = f"Content too large: {len(content)} bytes (max {arguments.max_bytes})"
            raise BadRequestError(text, Provenance.TOOL_ERROR)
    except BadRequestError as error:
        return await checkpointed(error.outcome)
    flags = protocol.WRITE_APPEND * arguments.append | protocol.WRITE_NO_PARENTS * (not arguments.parents)
    flags |= protocol.WRITE_MODE * (arguments.mode is not None)
    async with turn as cell:
        answer = await _write(cell, path, content, flags=flags, mode=arguments.mode or 0)
        if isinstance(answer, Outcome):
            return answer
        if answer.kind == protocol.FAILED:
            return file_failure(answer.fixed, path=arguments.path, max_bytes=arguments.max_bytes)
        return Outcome(data={"written_bytes": answer.fixed[0]})
    return RELEASED


async def _write(
    cell: Cell, path: bytes, content: bytes, *, flags: int = 0, mode: int = 0
) -> Message | Outcome:
    if len(content) <= protocol.MAX_INLINE_BYTES:
        return await ask_cell(cell, protocol.WRITE, (flags, mode), (path, content))
    descriptor = memory_file(content)
    try:
        flags |= protocol.WRITE_PASSED
        return await ask_cell(cell, protocol.WRITE, (flags, mode), (path, b""), descriptor)
    finally:
        os.close(descriptor)


async def run_edit(turn: Turn, arguments: EditFileArguments, *, texts: bytes) -> Outcome:
    """See :meth:`SlotPool.edit_file`.

    Cancellation: abandons; the file may or may not have been edited, never half.
    """
    try:
        path = path_bytes(arguments.path, operation="edit_file")
        if not 0 <= arguments.old_bytes <= len(texts):
            text = f"edit_file: field 'old_bytes': must be between 0 and {len(texts)}"
            raise BadRequestError(text)
    except BadRequestError as error:
        return await checkpointed(error.outcome)
    async with turn as cell:
        return await _edit(cell, path, arguments, texts)
    return RELEASED


async def _edit(cell: Cell, path: bytes, arguments: EditFileArguments, texts: bytes) -> Outcome:
    question = (0, MAX_FILE_BYTES, protocol.READ_WHOLE)
    answer = await ask_cell(cell, protocol.READ, question, (path,))
    if isinstance(answer, Outcome):
        return answer
    whole = ReadFileArguments(path=arguments.path, max_bytes=MAX_FILE_BYTES)
    try:
        read = await _read_outcome(answer, whole)
    finally:
        answer.drop()
    if read.provenance is not Provenance.OK:
        return read
    old, new = texts[: arguments.old_bytes], texts[arguments.old_bytes :]
    try:
        edited = replace_text(read.payload, old, new, replace_all=arguments.replace_all)
    except EditError as error:
        return Outcome(provenance=Provenance.TOOL_ERROR, error=f"{error}: {arguments.path}")
    written = await _write(cell, path, edited.content)
    if isinstance(written, Outcome):
        return written
    if written.kind == protocol.FAILED:
        return file_failure(written.fixed, path=arguments.path, max_bytes=MAX_FILE_BYTES)
    report = {"replacements": edited.replacements, "first_line": edited.first_line}
    return Outcome(data={**report, "written_bytes": written.fixed[0]})
