"""Files and trees of workspaces, up and down: bytes as they are, of any size."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import trio
from attrs import field, frozen
from starlette.requests import Request
from starlette.responses import Response

from hermes_trio.api.answers import json_response
from hermes_trio.api.endpoint import Endpoint, Parameter
from hermes_trio.api.headers import (
    MAX_OFFSET,
    MODE_PATTERN,
    Part,
    digest_header,
    digest_of,
    mode_in,
    offset_in,
    part_of,
    query_of,
    text_in,
)
from hermes_trio.api.payloads import MAX_NAME_CHARS, TransferResponse
from hermes_trio.api.problems import ProblemError
from hermes_trio.api.state import ApiState
from hermes_trio.api.streaming import BodyPieces, DownloadResponse, StalledError, Take, failure_problem
from hermes_trio.api.waiting import with_slot
from hermes_trio.errors import InvalidInputError, SlotStateError
from hermes_trio.executor.artifacts import ArtifactContent, shown
from hermes_trio.executor.files import NO_SLOT
from hermes_trio.executor.transfer import Transfer
from hermes_trio.wire.operations import Packing

OCTETS: Final = "application/octet-stream"
_TAR, _GZIP = "application/x-tar", "application/gzip"
_TRAJECTORY: Final = Parameter(
    name="trajectory_id",
    where="query",
    schema={"type": "string", "minLength": 1, "maxLength": MAX_NAME_CHARS},
    description="Whose workspace. It must have a slot.",
    required=True,
    example="traj-1",
)
_PATH: Final = Parameter(
    name="path",
    where="query",
    schema={"type": "string", "minLength": 1, "pattern": "^[^\\u0000]+$"},
    description="In the workspace. A name that is no UTF-8 is percent-encoded byte by byte.",
    required=True,
    example="out/answer.txt",
)
_FOLDER: Final = Parameter(
    name="path",
    where="query",
    schema={"type": "string", "minLength": 1, "pattern": "^[^\\u0000]+$", "default": "."},
    description="The folder, in the workspace.",
    example="out",
)
_FORMAT: Final = Parameter(
    name="format",
    where="query",
    schema={"type": "string", "enum": [Packing.TAR.value, Packing.TAR_GZ.value], "default": "tar"},
    description="Of the archive.",
)
_OFFSET: Final = Parameter(
    name="offset",
    where="query",
    schema={"type": "integer", "minimum": 0, "maximum": MAX_OFFSET, "default": 0},
    description="Bytes of this very file that came before, when an upload broke off: the size of "
    "`.<name>.part` beside it. The body is what follows them. Wants `Repr-Digest`.",
)
_MODE: Final = Parameter(
    name="mode",
    where="query",
    schema={"type": "string", "pattern": MODE_PATTERN},
    description="Permission bits, octal; left out: those of the file that is replaced, else 644.",
    example="755",
)
_RANGE: Final = Parameter(
    name="Range",
    where="header",
    schema={"type": "string"},
    description="One range of bytes, to go on with a download (RFC 9110, 14.2).",
    example="bytes=0-1023",
)
_IF_RANGE: Final = Parameter(
    name="If-Range",
    where="header",
    schema={"type": "string"},
    description="The `ETag` that the download began with: if the file is another now, all of it comes.",
)
_WANT_DIGEST: Final = Parameter(
    name="Want-Repr-Digest",
    where="header",
    schema={"type": "string"},
    description="With `sha-256=1`, the answer's `Repr-Digest` tells the SHA-256 of the whole file.",
    example="sha-256=1",
)
_DIGEST: Final = Parameter(
    name="Repr-Digest",
    where="header",
    schema={"type": "string"},
    description="`sha-256=:<base64>:` of the whole file (RFC 9530). If another came, nothing is kept.",
)
_TRANSFER: Final = {
    "path": "out/answer.txt",
    "size": 3,
    "sha256": "084c799cd551dd1d8d5c5f9a5d593b2e931f5e36122ee5c793c1d08a19839cc0",
    "sent_bytes": 3,
    "entries": None,
    "skipped": {},
}
_STATUSES: Final = (404, 408, 409, 410, 413)


def file_endpoints(api: ApiState) -> tuple[Endpoint, ...]:
    """The operations."""
    return (
        Endpoint(
            method="GET",
            path="/files",
            name="download_file",
            summary="A file's bytes, or a range of them. HEAD tells its size, `ETag` and digest.",
            handle=partial(_download, api),
            media={OCTETS: "The bytes."},
            successes={206: "The range that was asked for; `Content-Range` says which."},
            parameters=(_TRAJECTORY, _PATH, _RANGE, _IF_RANGE, _WANT_DIGEST),
            statuses=(*_STATUSES, 416),
            tag="files",
        ),
        Endpoint(
            method="PUT",
            path="/files",
            name="upload_file",
            summary="Write a file. It appears, whole, when all of it has come; missing folders are made. "
            "Idempotent: send it again if in doubt.",
            handle=partial(_upload, api),
            upload=OCTETS,
            response=TransferResponse,
            response_example=_TRANSFER,
            parameters=(_TRAJECTORY, _PATH, _OFFSET, _MODE, _DIGEST),
            statuses=(*_STATUSES, 415),
            tag="files",
        ),
        Endpoint(
            method="GET",
            path="/trees",
            name="download_tree",
            summary="A folder and all that is in it, as an archive; names are relative to the folder.",
            handle=partial(_download_tree, api),
            media={_TAR: "The archive.", _GZIP: "The same, with `format=tar.gz`."},
            parameters=(_TRAJECTORY, _FOLDER, _FORMAT),
            statuses=_STATUSES,
            tag="files",
        ),
        Endpoint(
            method="PUT",
            path="/trees",
            name="upload_tree",
            summary="Unpack a tar archive into a folder, over what is there. What would lead out of the "
            "workspace is left out, and told in `skipped`.",
            handle=partial(_upload_tree, api),
            upload=OCTETS,
            response=TransferResponse,
            response_example={**_TRANSFER, "path": "out", "size": 10240, "sent_bytes": 10240, "entries": 2},
            parameters=(_TRAJECTORY, _FOLDER),
            statuses=(*_STATUSES, 415),
            tag="files",
        ),
    )


@frozen(kw_only=True)
class _Asked:
    """Whose, and which; ``query`` is the rest."""

    trajectory_id: str
    path: bytes
    query: dict[str, bytes] = field(repr=False)


def _asked(api: ApiState, request: Request, *, default: bytes = b"") -> _Asked:
    query = query_of(request.scope["query_string"])
    trajectory_id = text_in(query, "trajectory_id")
    if not 1 <= len(trajectory_id) <= MAX_NAME_CHARS:
        raise InvalidInputError(f"must have 1 to {MAX_NAME_CHARS} characters", field="trajectory_id")
    path = query.get("path", default)
    if not path or b"\0" in path:
        raise InvalidInputError("is missing, empty or holds a NUL", field="path")
    if not api.executor.has_slot(trajectory_id):
        raise SlotStateError(NO_SLOT, field="trajectory_id")
    return _Asked(trajectory_id=trajectory_id, path=path, query=query)


async def _download(api: ApiState, request: Request) -> Response:
    asked = _asked(api, request)
    wants_digest = "sha-256" in request.headers.get("want-repr-digest", "")
    look = partial(
        api.executor.read_artifact,
        *(asked.trajectory_id, asked.path),
        max_bytes=0,
        include_sha256=wants_digest,
    )
    found = await with_slot(api, asked.trajectory_id, look)
    if not found.success:
        raise failure_problem(found)
    size = found.file_size or 0
    headers = _headers(found)
    part = _part(request, size, headers["etag"])
    if part is not None:
        headers["content-range"] = f"bytes {part.start}-{part.stop - 1}/{size}"
    wanted = part or Part(0, size)
    length = wanted.stop - wanted.start
    headers["content-length"] = str(length)
    status = 206 if part else 200
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers)
    produce = partial(
        api.executor.send_download,
        *(asked.trajectory_id, asked.path),
        offset=wanted.start,
        max_bytes=length,
    )
    return DownloadResponse(produce, status=status, headers=headers, length=length)


def _headers(found: ArtifactContent) -> dict[str, str]:
    """Never a type that a browser would run: it comes from a slot."""
    headers = {
        "content-type": OCTETS,
        "x-content-type-options": "nosniff",
        "accept-ranges": "bytes",
        "etag": f'"{found.file_size or 0:x}-{found.mtime_ns or 0:x}"',
        "cache-control": "no-store",
    }
    return headers | ({"repr-digest": digest_header(found.sha256)} if found.sha256 else {})


def _part(request: Request, size: int, tag: str) -> Part | None:
    if request.headers.get("if-range", tag) != tag:
        return None
    try:
        return part_of(request.headers.get("range"), size)
    except ValueError:
        told = f"the file has {size} bytes"
        raise ProblemError(416, told, field="Range", headers={"content-range": f"bytes */{size}"}) from None


async def _upload(api: ApiState, request: Request) -> Response:
    asked = _asked(api, request)
    offset, digest = offset_in(asked.query), digest_of(request.headers.get("repr-digest"))
    if offset and digest is None:
        raise InvalidInputError("is needed to go on with an upload", field="Repr-Digest")
    transfer = await _receive(api, request, asked, offset=offset, mode=mode_in(asked.query), sha256=digest)
    return json_response(_told(transfer))


async def _upload_tree(api: ApiState, request: Request) -> Response:
    asked = _asked(api, request, default=b".")
    return json_response(_told(await _receive(api, request, asked, unpack=True)))


async def _receive(api: ApiState, request: Request, asked: _Asked, **more: Any) -> Transfer:
    _refuse_coding(request)
    pieces = BodyPieces(request, stall_limit_s=api.limits.stall_limit_s)
    try:
        receive = partial(api.executor.receive_upload, asked.trajectory_id, asked.path, pieces.give, **more)
        transfer = await with_slot(api, asked.trajectory_id, receive)
    except StalledError as error:
        raise ProblemError(408, str(error)) from None
    if transfer.success:
        return transfer
    if not transfer.reason and "SHA-256" in transfer.error:
        raise ProblemError(422, transfer.error, field="Repr-Digest")
    raise failure_problem(transfer, field="path" if transfer.reason else "offset")


def _refuse_coding(request: Request) -> None:
    coding = request.headers.get("content-encoding", "identity")
    if coding.strip().lower() != "identity":
        raise ProblemError(
            415,
            "bodies are taken as they are only",
            field="Content-Encoding",
            headers={"accept-encoding": "identity"},
        )


def _told(transfer: Transfer) -> dict[str, Any]:
    """JSON, which has no names that are no text."""
    told = {name: getattr(transfer, name) for name in _TRANSFER}
    skipped = {shown(name): shown(why) for name, why in transfer.skipped.items()}
    return {**told, "path": shown(transfer.path), "skipped": skipped}


async def _download_tree(api: ApiState, request: Request) -> Response:
    await trio.lowlevel.checkpoint()
    asked = _asked(api, request, default=b".")
    told = text_in(asked.query, "format", default=Packing.TAR)
    if told not in (Packing.TAR, Packing.TAR_GZ):
        raise InvalidInputError("must be tar or tar.gz", field="format")
    packing = Packing(told)
    send = partial(api.executor.send_download, asked.trajectory_id, asked.path, packing=packing)

    async def produce(take: Take) -> Transfer:
        return await with_slot(api, asked.trajectory_id, partial(send, take))

    headers = {
        "content-type": _TAR if packing is Packing.TAR else _GZIP,
        "x-content-type-options": "nosniff",
        "cache-control": "no-store",
    }
    return DownloadResponse(produce, headers=headers)
