"""Listings and downloads: what is asked for is checked, the slot is asked, the report is made."""

from __future__ import annotations

import stat
from typing import Any

import trio

from hermes_trio.errors import Provenance
from hermes_trio.wire.operations import DownloadArguments, ListArguments, Packing, SearchArguments
from sandbox_daemon.agent import protocol
from sandbox_daemon.files.flow import Outflow, hash_file, send_file
from sandbox_daemon.files.requests import (
    check_limit_s,
    download_bounds,
    list_job,
    no_credit,
    pack_job,
    search_job,
    shown_path,
)
from sandbox_daemon.files.worker import Done, Job, checkpointed, run_job
from sandbox_daemon.isolation.policy import SlotLimits
from sandbox_daemon.process.command import Sink
from sandbox_daemon.process.link import Message
from sandbox_daemon.process.outcome import Outcome
from sandbox_daemon.slots.requests import BadRequestError, file_failure
from sandbox_daemon.slots.turn import Turn
from sandbox_daemon.slots.work import RELEASED, ask_cell

_KEPT_BYTES = 4 * 1024 * 1024


async def run_list(turn: Turn, arguments: ListArguments, *, limit_s: float) -> Outcome:
    """See :meth:`SlotPool.list_files`.

    Cancellation: shielded, at most 2.75 s: the worker is killed first.
    """
    try:
        check_limit_s(limit_s, operation="file.list")
        what = list_job(arguments)
    except BadRequestError as error:
        return await checkpointed(error.outcome)
    done = await run_job(turn, Job(verb="list", what=what, limit_s=limit_s, kept_bytes=_KEPT_BYTES))
    if isinstance(done, Outcome):
        return done
    if done.told.failed is not None:
        return file_failure(done.told.failed, path=shown_path(what["path"]), max_bytes=0)
    report = {
        "entries": done.told.number("entries"),
        "truncated": bool(done.told.number("truncated")),
        **skipped_members(done),
    }
    return Outcome(data=report, segments=(len(done.output),), payload=done.output)


async def run_search(turn: Turn, arguments: SearchArguments, *, limit_s: float) -> Outcome:
    """See :meth:`SlotPool.search_files`.

    Cancellation: shielded, at most 2.75 s: the worker is killed first.
    """
    try:
        check_limit_s(limit_s, operation="file.search")
        what = search_job(arguments)
    except BadRequestError as error:
        return await checkpointed(error.outcome)
    done = await run_job(turn, Job(verb="search", what=what, limit_s=limit_s, kept_bytes=_KEPT_BYTES))
    if isinstance(done, Outcome):
        return done
    if done.told.failed is not None:
        return file_failure(done.told.failed, path=shown_path(what["path"]), max_bytes=0)
    if done.told.refused:
        return Outcome(provenance=Provenance.INVALID_REQUEST, error=done.told.refused)
    report = {
        "matches": done.told.number("entries"),
        "truncated": bool(done.told.number("truncated")),
        "engine": "ripgrep" if done.told.number("ripgrep") else "python",
        "skipped_count": done.told.number("skipped_count"),
    }
    return Outcome(data=report, segments=(len(done.output),), payload=done.output)


def skipped_members(done: Done) -> dict[str, Any]:
    """What a job left out, for its report; nothing where there is nothing to tell."""
    skipped = [list(pair) for pair in done.told.skipped]
    return {"skipped": skipped, "skipped_count": done.told.number("skipped_count")} if skipped else {}


async def run_download(
    turn: Turn,
    arguments: DownloadArguments,
    *,
    limit_s: float,
    limits: SlotLimits,
    sink: Sink | None,
) -> Outcome:
    """See :meth:`SlotPool.download`.

    Cancellation: shielded, at most 2.75 s: a worker is killed first.
    """
    if sink is None:
        return await checkpointed(no_credit())
    try:
        check_limit_s(limit_s, operation="file.download")
        path, max_bytes = download_bounds(arguments)
        what = pack_job(arguments, path, max_bytes, disk_bytes=limits.disk_bytes)
    except BadRequestError as error:
        return await checkpointed(error.outcome)
    outflow = Outflow(sink)
    if arguments.packing is Packing.FILE:
        return await _send_one(turn, arguments, path, max_bytes, outflow, limit_s=limit_s)
    done = await run_job(turn, Job(verb="pack", what=what, limit_s=limit_s, sink=outflow))
    if isinstance(done, Outcome):
        return done
    if done.told.failed is not None:
        return file_failure(done.told.failed, path=shown_path(path), max_bytes=max_bytes)
    return _sent(outflow, {"entries": done.told.number("entries"), **skipped_members(done)})


def _sent(outflow: Outflow, more: dict[str, Any]) -> Outcome:
    return Outcome(data={"sent_bytes": outflow.sent_bytes, "sent_sha256": outflow.sha256, **more})


async def _send_one(
    turn: Turn,
    arguments: DownloadArguments,
    path: bytes,
    max_bytes: int,
    outflow: Outflow,
    *,
    limit_s: float,
) -> Outcome:
    """One file, which the agent reads or hands over open. Nobody changes it meanwhile: it is our turn."""
    flags = protocol.READ_OPEN if arguments.sha256 else 0
    question = (arguments.offset, max_bytes, flags)
    async with turn as cell:
        answer = await ask_cell(cell, protocol.READ, question, (path,))
        if isinstance(answer, Outcome):
            return answer
        try:
            if answer.kind == protocol.FAILED:
                return file_failure(answer.fixed, path=shown_path(path), max_bytes=max_bytes)
            with trio.move_on_after(limit_s):
                with cell.group.standing_back():
                    return await _send_answer(answer, arguments, max_bytes, outflow)
            text = f"It took longer than {limit_s:g} s"
            return Outcome(provenance=Provenance.LIMIT_EXCEEDED, error=text)
        finally:
            answer.drop()
    return RELEASED


async def _send_answer(
    answer: Message, arguments: DownloadArguments, max_bytes: int, outflow: Outflow
) -> Outcome:
    file_bytes, mode, mtime_ns, _ = answer.fixed
    more: dict[str, Any] = {"file_bytes": file_bytes, "mode": stat.S_IMODE(mode), "mtime_ns": mtime_ns}
    if not answer.descriptors:
        outflow.count(answer.strings[0])
        await outflow.send(answer.strings[0])
        return _sent(outflow, more)
    descriptor, size = answer.descriptors[0], max(0, min(max_bytes, file_bytes - arguments.offset))
    await send_file(descriptor, outflow, offset=arguments.offset, size=size)
    if arguments.sha256:
        whole = outflow.sent_bytes == file_bytes and not arguments.offset
        more["sha256"] = outflow.sha256 if whole else await hash_file(descriptor, file_bytes)
    return _sent(outflow, more)
