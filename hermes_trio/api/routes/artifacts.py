"""Files that a trajectory left behind: the ancestor's three operations."""

from __future__ import annotations

from functools import partial
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from hermes_trio.api.answers import json_response
from hermes_trio.api.endpoint import Endpoint
from hermes_trio.api.payloads import (
    ArtifactArchiveRequest,
    ArtifactArchiveResponse,
    ArtifactListRequest,
    ArtifactListResponse,
    ArtifactReadRequest,
    ArtifactReadResponse,
)
from hermes_trio.api.reading import read_request
from hermes_trio.api.state import ApiState
from hermes_trio.api.waiting import with_slot

_STATUSES: Final = (408, 409, 413, 503)


def artifact_endpoints(api: ApiState) -> tuple[Endpoint, ...]:
    """The operations. What fails there is an answer with ``success`` false, as in the ancestor."""
    return (
        Endpoint(
            method="POST",
            path="/artifacts/read",
            name="read_artifact",
            summary="Read a file of a trajectory's workspace, past the model and its tools.",
            handle=partial(_read, api),
            request=ArtifactReadRequest,
            example={"trajectory_id": "traj-1", "path": "answer.txt", "include_sha256": True},
            response=ArtifactReadResponse,
            response_example={
                "success": True,
                "content": "42\n",
                "error": "",
                "encoding": "text",
                "truncated": False,
                "bytes": 3,
                "file_size": 3,
                "path": "answer.txt",
                "mime": "text/plain",
                "sha256": "084c799cd551dd1d8d5c5f9a5d593b2e931f5e36122ee5c793c1d08a19839cc0",
            },
            statuses=_STATUSES,
            tag="files",
        ),
        Endpoint(
            method="POST",
            path="/artifacts/list",
            name="list_artifacts",
            summary="List a folder of a trajectory's workspace.",
            handle=partial(_list, api),
            request=ArtifactListRequest,
            example={"trajectory_id": "traj-1", "path": ".", "recursive": True},
            response=ArtifactListResponse,
            response_example={
                "success": True,
                "entries": [{"path": "answer.txt", "is_dir": False, "size": 3, "mtime": 1790000000.0}],
                "truncated": False,
                "error": "",
            },
            statuses=_STATUSES,
            tag="files",
        ),
        Endpoint(
            method="POST",
            path="/artifacts/archive",
            name="archive_artifacts",
            summary="Pack a folder of a trajectory's workspace as a gzipped tar archive.",
            handle=partial(_archive, api),
            request=ArtifactArchiveRequest,
            example={"trajectory_id": "traj-1", "path": "."},
            response=ArtifactArchiveResponse,
            response_example={
                "success": True,
                "content": "H4sIAAAAAAAAA...",
                "error": "",
                "encoding": "base64",
                "format": "tar.gz",
                "bytes": 122,
                "entry_count": 1,
            },
            statuses=_STATUSES,
            tag="files",
        ),
    )


async def _read(api: ApiState, request: Request) -> Response:
    asked = await read_request(request, ArtifactReadRequest, api.limits, api.bodies)
    read = partial(
        api.executor.read_artifact,
        asked.trajectory_id,
        asked.path,
        encoding=asked.encoding.value,
        max_bytes=asked.max_bytes,
        include_sha256=asked.include_sha256,
    )
    content = await with_slot(api, asked.trajectory_id, read)
    return json_response(content.as_payload())


async def _list(api: ApiState, request: Request) -> Response:
    asked = await read_request(request, ArtifactListRequest, api.limits, api.bodies)
    look = partial(
        api.executor.list_artifacts,
        *(asked.trajectory_id, asked.path),
        recursive=asked.recursive,
        max_entries=asked.max_entries,
    )
    listing = await with_slot(api, asked.trajectory_id, look)
    return json_response(listing.as_payload())


async def _archive(api: ApiState, request: Request) -> Response:
    asked = await read_request(request, ArtifactArchiveRequest, api.limits, api.bodies)
    pack = partial(
        api.executor.archive_artifacts,
        asked.trajectory_id,
        asked.path,
        archive_format=asked.format.value,
        max_bytes=asked.max_bytes,
        max_entries=asked.max_entries,
    )
    archive = await with_slot(api, asked.trajectory_id, pack)
    return json_response(archive.as_payload())
