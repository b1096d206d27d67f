"""The executor's methods about files: what a grader asks for, past the model and its tools."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

import trio
from attrs import frozen

from hermes_trio.errors import HermesTrioError, InvalidInputError, Provenance, RemoteProtocolError
from hermes_trio.executor.artifacts import (
    ENCODINGS,
    FORMATS,
    MAX_ARCHIVED_BYTES,
    MAX_ARTIFACT_BYTES,
    MAX_ARTIFACT_ENTRIES,
    ArtifactArchive,
    ArtifactContent,
    ArtifactEntry,
    ArtifactFailure,
    ArtifactList,
    bytes_of,
    mime_of,
    path_arguments,
    skipped_of,
    text_of_path,
)
from hermes_trio.executor.results import result_of_failure
from hermes_trio.fleet.calls import CallRecord
from hermes_trio.tools.calls import ToolCall
from hermes_trio.wire.frames import Output, Result
from hermes_trio.wire.listing import unpack_entries
from hermes_trio.wire.operations import Operation

NO_SLOT = "No active slot for trajectory (run a sandbox tool first)"

A = TypeVar("A", bound=ArtifactFailure)


@frozen(kw_only=True)
class Answered:
    """What a file operation came to: its report and its bytes, or why not.

    Args:
        data: the report.
        payload: what came, on output frames or in the result.
        failure: as the members of :class:`ArtifactFailure`; empty: it succeeded.
    """

    data: Mapping[str, Any]
    payload: bytes = b""
    failure: Mapping[str, Any]


class FileMethods(ABC):
    """Mixed into the executor, which brings the road."""

    @abstractmethod
    def has_slot(self, trajectory_id: str) -> bool:
        """Whether the trajectory has a slot, or is about to get one."""

    @abstractmethod
    async def operate(self, record: CallRecord) -> None:
        """Send a call to its trajectory's slot, and wait for its end. Cancellation: abandons."""

    @abstractmethod
    def grant(self, record: CallRecord, limit_bytes: int) -> None:
        """Welcome output up to this byte."""

    @property
    @abstractmethod
    def default_limit_s(self) -> float:
        """Seconds an operation may take when nobody says so."""

    async def read_artifact(
        self,
        trajectory_id: str,
        path: str | bytes,
        *,
        encoding: str = "text",
        max_bytes: int | None = None,
        offset: int = 0,
        include_sha256: bool = False,
        limit_s: float | None = None,
    ) -> ArtifactContent:
        """Read a file of the trajectory's workspace, or a part of it, past the model and its tools.

        It is opened inside the slot: no name and no link leads out, and what is no regular file is refused.

        Cancellation: abandons.

        Args:
            trajectory_id: whose workspace. One that has no slot is answered ``unavailable``.
            path: relative to the workspace, or absolute inside it; bytes for names that are no text.
            encoding: how :attr:`ArtifactContent.content` gives the bytes: ``text`` or ``base64``.
            max_bytes: bytes at most; a longer file comes ``truncated``. At most 5,000,000, which ``None``
                means.
            offset: the first byte wanted.
            include_sha256: tell the digest of the whole file, however little of it is read.
            limit_s: seconds it may take; ``None``: the executor's default.

        Raises:
            ClosedError: the executor was closed.
        """
        path_text = text_of_path(path)
        try:
            size = _bound("max_bytes", max_bytes, MAX_ARTIFACT_BYTES)
            arguments = {
                **path_members(path),
                "max_bytes": size,
                "offset": _count("offset", offset),
                "sha256": include_sha256,
            }
            _one_of("encoding", encoding, ENCODINGS)
        except InvalidInputError as exc:
            return await _refused(ArtifactContent, exc, path=path_text)

        def read(answer: Answered) -> ArtifactContent:
            data = answer.data
            return ArtifactContent(
                success=True,
                path=path_text,
                data=answer.payload,
                offset=offset,
                encoding=encoding,
                truncated=offset + len(answer.payload) < data["file_bytes"],
                file_size=data["file_bytes"],
                mime=mime_of(path_text),
                sha256=data.get("sha256"),
                mode=data.get("mode"),
                mtime_ns=data.get("mtime_ns"),
            )

        answer = await self._ask(trajectory_id, Operation.DOWNLOAD, arguments, limit_s, credit=size + 1)
        failed = partial(ArtifactContent, path=path_text, encoding=encoding)
        return _made(answer, read, failed)

    async def list_artifacts(
        self,
        trajectory_id: str,
        path: str | bytes = ".",
        *,
        recursive: bool = False,
        max_entries: int | None = None,
        after: str | bytes = "",
        limit_s: float | None = None,
    ) -> ArtifactList:
        """List a folder of the trajectory's workspace, a page at a time.

        Links are listed and not followed.

        Cancellation: abandons.

        Args:
            trajectory_id: whose workspace. One that has no slot is answered ``unavailable``.
            path: the folder.
            recursive: also what is in the folders in it.
            max_entries: entries at most, and at most 5,000, which ``None`` means.
            after: go on after this path, the last of the page before.
            limit_s: seconds it may take; ``None``: the executor's default.

        Raises:
            ClosedError: the executor was closed.
        """
        try:
            arguments = {
                **path_members(path),
                "recursive": recursive,
                "max_entries": _bound("max_entries", max_entries, MAX_ARTIFACT_ENTRIES, least=1),
                "after_hex": _name(after).hex(),
            }
        except InvalidInputError as exc:
            return await _refused(ArtifactList, exc)
        answer = await self._ask(trajectory_id, Operation.LIST, arguments, limit_s)
        return _made(answer, _listing, ArtifactList)

    async def archive_artifacts(
        self,
        trajectory_id: str,
        path: str | bytes = ".",
        *,
        archive_format: str = "tar.gz",
        max_bytes: int | None = None,
        max_entries: int | None = None,
        limit_s: float | None = None,
    ) -> ArtifactArchive:
        """Pack a folder of the trajectory's workspace, inside the slot; names are relative to the workspace.

        Links and empty folders are kept as they are. What cannot be packed is left out and told. An archive
        that would be too large is refused; what it would hold may be 256 MiB at most.

        Cancellation: abandons.

        Args:
            trajectory_id: whose workspace. One that has no slot is answered ``unavailable``.
            path: the folder.
            archive_format: ``tar.gz`` or ``tgz``, which is the same.
            max_bytes: of the archive; at most 5,000,000, which ``None`` means.
            max_entries: at most 5,000, which ``None`` means.
            limit_s: seconds it may take; ``None``: the executor's default.

        Raises:
            ClosedError: the executor was closed.
        """
        try:
            _one_of("archive_format", archive_format, FORMATS)
            size = _bound("max_bytes", max_bytes, MAX_ARTIFACT_BYTES)
            arguments = {
                **path_members(path),
                "packing": "tar.gz",
                "full_names": True,
                "max_bytes": size,
                "max_entries": _bound("max_entries", max_entries, MAX_ARTIFACT_ENTRIES),
                "max_content_bytes": MAX_ARCHIVED_BYTES,
            }
        except InvalidInputError as exc:
            return await _refused(ArtifactArchive, exc)
        answer = await self._ask(trajectory_id, Operation.DOWNLOAD, arguments, limit_s, credit=size + 1)
        return _made(answer, _archive, ArtifactArchive)

    async def _ask(
        self,
        trajectory_id: str,
        operation: Operation,
        arguments: Mapping[str, Any],
        limit_s: float | None,
        *,
        credit: int = 0,
    ) -> Answered:
        """One operation whose bytes are kept here; ``credit`` bounds them."""
        if not self.has_slot(trajectory_id):
            await trio.lowlevel.checkpoint()
            return Answered(data={}, failure=failure_members(Provenance.UNAVAILABLE, NO_SLOT))
        came = bytearray()

        def hear(output: Output) -> None:
            came.extend(output.payload)

        record = CallRecord(
            operation=operation,
            arguments=arguments,
            trajectory_id=trajectory_id,
            limit_s=self.default_limit_s if limit_s is None else limit_s,
            output_credit=credit,
            on_output=hear,
        )
        await self.operate(record)
        return answer_of(record, came)


def answer_of(record: CallRecord, came: bytearray | None = None) -> Answered:
    """What a call that has ended came to; ``came``: what came of it on the way, if that was kept."""
    try:
        return answered(record.unwrap(), None if came is None else bytes(came))
    except HermesTrioError as exc:
        result = result_of_failure(ToolCall(record.operation, {}), exc)
        return Answered(data={}, failure=failure_members(result.provenance, result.error))


def _listing(answer: Answered) -> ArtifactList:
    return ArtifactList(
        success=True,
        entries=tuple(map(ArtifactEntry.of, unpack_entries(answer.payload))),
        truncated=bool(answer.data["truncated"]),
        skipped=skipped_of(answer.data),
    )


def _archive(answer: Answered) -> ArtifactArchive:
    return ArtifactArchive(
        success=True,
        data=answer.payload,
        entry_count=answer.data["entries"],
        skipped=skipped_of(answer.data),
        skipped_count=answer.data.get("skipped_count", 0),
    )


def _made(answer: Answered, read: Callable[[Answered], A], fail: Callable[..., A]) -> A:
    """The value; a report that no daemon of ours makes is a failure like any."""
    if answer.failure:
        return fail(**answer.failure)
    try:
        return read(answer)
    except (KeyError, TypeError, ValueError, RemoteProtocolError) as exc:
        text = f"the daemon's report cannot be read: {exc!r}"
        return fail(**failure_members(Provenance.INTERNAL_ERROR, text))


def answered(result: Result, came: bytes | None = None) -> Answered:
    """What a result says of a file operation.

    Raises:
        RemoteProtocolError: what came is not what the report says.
    """
    if result.provenance is not Provenance.OK:
        reason = str(result.data.get("reason", ""))
        return Answered(data={}, failure=failure_members(result.provenance, result.error, reason))
    sent = result.data.get("sent_bytes")
    if sent is not None and came is not None and sent != len(came):
        raise RemoteProtocolError(f"{len(came)} bytes came of a file, and {sent} were sent")
    return Answered(data=result.data, payload=came or result.payload, failure={})


def failure_members(provenance: Provenance, error: str, reason: str = "") -> dict[str, Any]:
    """The members of an :class:`ArtifactFailure` that is one."""
    return {"success": False, "error": error, "provenance": provenance, "reason": reason}


async def _refused(kind: type[A], exc: InvalidInputError, **more: Any) -> A:
    await trio.lowlevel.checkpoint()
    return kind(**failure_members(Provenance.INVALID_REQUEST, str(exc)), **more)


def path_members(path: str | bytes) -> dict[str, Any]:
    """A path, checked, as it travels. ``InvalidInputError`` names it."""
    name = _name(path)
    if not name or b"\0" in name:
        raise InvalidInputError("is empty or holds a NUL", field="path")
    return path_arguments(name)


def _name(path: str | bytes) -> bytes:
    try:
        return bytes_of(path)
    except UnicodeEncodeError as exc:
        raise InvalidInputError("is not text", field="path") from exc


def _count(name: str, value: int) -> int:
    """Also of callers that no type checker has seen."""
    if type(value) is int and 0 <= value < 2**53:
        return value
    raise InvalidInputError("must be a number of bytes or entries", field=name)


def _bound(name: str, value: int | None, most: int, *, least: int = 0) -> int:
    """What is asked for, at most the cap: who asks for more gets that, and hears that there is more."""
    return most if value is None else min(max(_count(name, value), least), most)


def _one_of(name: str, value: str, words: tuple[str, ...]) -> None:
    if value not in words:
        raise InvalidInputError(f"must be one of {', '.join(words)}", field=name)
