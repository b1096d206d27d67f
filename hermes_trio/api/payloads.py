"""PURE. What requests and answers say: the ancestor's payloads, and ours beyond them.

One class each, read strictly by the project's one converter; members that are not known are passed over, as
the ancestor does. The OpenAPI document is made of the same classes (``schema.py``): what it says is what is
read.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from typing import Any, Final, TypeVar, get_args, get_type_hints

import attrs
from attrs import field, frozen

from hermes_trio.errors import InvalidInputError, Provenance
from hermes_trio.tools.calls import ToolCall, ToolResult
from hermes_trio.wire.codec import structure_arguments
from hermes_trio.wire.ranges import Count, Positive

MAX_NAME_CHARS: Final = 512
"""Of a trajectory's id: it is the key of what is kept here, and stands in every event."""

T = TypeVar("T")


def _name(_instance: object, attribute: attrs.Attribute[str], value: str) -> None:
    if not 1 <= len(value) <= MAX_NAME_CHARS:
        raise InvalidInputError(f"must have 1 to {MAX_NAME_CHARS} characters", field=attribute.name)


_NAME_BOUNDS: Final = {"minLength": 1, "maxLength": MAX_NAME_CHARS}


def _trajectory() -> Any:
    return field(validator=_name, metadata={"schema": _NAME_BOUNDS})


# --- requests ---------------------------------------------------------------------------------------------


@frozen(kw_only=True)
class ToolPayload:
    """One tool call.

    Args:
        name: the tool's.
        arguments: the tool's own; see its schema.
        uniq_id: comes back with the result; made up when it is null.
    """

    name: str
    arguments: Mapping[str, Any] = field(factory=dict)
    uniq_id: str | None = None

    def to_tool_call(self) -> ToolCall:
        """As the executor takes it."""
        if self.uniq_id is None:
            return ToolCall(name=self.name, arguments=self.arguments)
        return ToolCall(name=self.name, arguments=self.arguments, uniq_id=self.uniq_id)


@frozen(kw_only=True)
class ExecuteRequest:
    """A call to run.

    Args:
        trajectory_id: whose call it is; the first one gets a slot, which is kept until it is released.
        tool: the call.
        timeout_s: seconds it may run, clamped to 1..600; queues are not charged. Null: the model's own
            ``timeout`` argument, else 30.
    """

    trajectory_id: str = _trajectory()
    tool: ToolPayload
    timeout_s: float | None = None


@frozen(kw_only=True)
class BatchRequest:
    """Several calls at once.

    Args:
        calls: each as in ``POST /execute``; those of one trajectory run in this order, the others at once.
    """

    calls: tuple[Mapping[str, Any], ...] = field(metadata={"items": ExecuteRequest})


@frozen(kw_only=True)
class ReleaseRequest:
    """A slot to be given back.

    Args:
        trajectory_id: whose.
        reset_workspace: wipe it at once, instead of when somebody else gets it.
    """

    trajectory_id: str = _trajectory()
    reset_workspace: bool = False


@frozen(kw_only=True)
class QuiesceRequest:
    """A slot in which nothing is to run any more but what is asked for here.

    Args:
        trajectory_id: whose slot. Its calls are refused from now on, until it is released or reopened.
        tool: run in the quiet slot: a verifier. Null: nothing.
        timeout_s: seconds that it may run; null: its default.
        reopen: take the trajectory's calls again afterwards.
    """

    trajectory_id: str = _trajectory()
    tool: ToolPayload | None = None
    timeout_s: float | None = None
    reopen: bool = False


@frozen(kw_only=True)
class ForkRequest:
    """A workspace to begin others with.

    Args:
        trajectory_id: whose; it must have a slot.
        into: new trajectories, which have none.
    """

    trajectory_id: str = _trajectory()
    into: tuple[str, ...] = field(
        metadata={"schema": {"items": {"type": "string", **_NAME_BOUNDS}, "minItems": 1, "uniqueItems": True}}
    )


class Encoding(StrEnum):
    """How a file's bytes stand in JSON."""

    TEXT = "text"
    BASE64 = "base64"


@frozen(kw_only=True)
class ArtifactReadRequest:
    """A file to read.

    Args:
        trajectory_id: whose workspace.
        path: relative to it.
        encoding: of ``content``.
        max_bytes: bytes at most; null: 5,000,000, which is the most there can be.
        include_sha256: tell the digest of the whole file.
    """

    trajectory_id: str = _trajectory()
    path: str
    encoding: Encoding = Encoding.TEXT
    max_bytes: Count | None = None
    include_sha256: bool = False


@frozen(kw_only=True)
class ArtifactListRequest:
    """A folder to list.

    Args:
        trajectory_id: whose workspace.
        path: the folder, relative to it.
        recursive: also what is in the folders in it.
        max_entries: entries at most; null: 5,000, which is the most there can be.
    """

    trajectory_id: str = _trajectory()
    path: str = "."
    recursive: bool = False
    max_entries: Positive | None = None


class ArchiveFormat(StrEnum):
    """Two names of one format."""

    TAR_GZ = "tar.gz"
    TGZ = "tgz"


@frozen(kw_only=True)
class ArtifactArchiveRequest:
    """A folder to pack.

    Args:
        trajectory_id: whose workspace.
        path: the folder, relative to it.
        format: of the archive.
        max_bytes: of the archive; null: 5,000,000, which is the most there can be.
        max_entries: null: 5,000, which is the most there can be.
    """

    trajectory_id: str = _trajectory()
    path: str = "."
    format: ArchiveFormat = ArchiveFormat.TAR_GZ
    max_bytes: Count | None = None
    max_entries: Count | None = None


# --- answers ----------------------------------------------------------------------------------------------


@frozen(kw_only=True)
class ToolResultPayload:
    """How a call ended. A tool that failed is an answer like any other.

    Args:
        success: the tool did what it was asked to do.
        output: what the model may see.
        error: one line; empty on success.
        metadata: figures of the run.
        uniq_id: the call's.
        provenance: who is responsible for this ending; a trainer masks on it.
    """

    success: bool
    output: str = ""
    error: str = ""
    metadata: Mapping[str, Any] = field(factory=dict)
    uniq_id: str | None = None
    provenance: Provenance = Provenance.OK

    @classmethod
    def of(cls, result: ToolResult) -> ToolResultPayload:
        """As it is answered."""
        return cls(
            success=result.success,
            output=result.output,
            error=result.error,
            metadata=result.metadata,
            uniq_id=result.uniq_id or None,
            provenance=result.provenance,
        )

    def to_mapping(self) -> dict[str, Any]:
        """JSON values only."""
        return {name: getattr(self, name) for name in _RESULT_MEMBERS}


_RESULT_MEMBERS: Final = tuple(each.name for each in attrs.fields(ToolResultPayload))


@frozen(kw_only=True)
class BatchResponse:
    """The results of a batch, in the order of its calls."""

    results: tuple[ToolResultPayload, ...]


@frozen(kw_only=True)
class OkResponse:
    """It was done.

    Args:
        status: ``ok``.
    """

    status: str


@frozen(kw_only=True)
class QuiesceResponse:
    """Nothing runs in the slot any more.

    Args:
        status: ``quiet``, or ``open`` if the trajectory's calls are taken again.
        result: of the tool, if one was asked for.
    """

    status: str
    result: ToolResultPayload | None = None


@frozen(kw_only=True)
class MessageResponse:
    """Who answers here.

    Args:
        message: a name.
    """

    message: str


@frozen(kw_only=True)
class PoolStatus:
    """The slots.

    Args:
        total_slots: in service.
        available_slots: of these, free.
        acquired_slots: held by trajectories, or being wiped.
        containers: daemons.
        slots_by_state: the same by their states.
        started: always true; it is what the ancestor says.
    """

    total_slots: int
    available_slots: int
    acquired_slots: int
    containers: int
    slots_by_state: Mapping[str, int]
    started: bool


@frozen(kw_only=True)
class StatusResponse:
    """What the executor does.

    Args:
        queue_size: calls that wait for a slot or for a link.
        total_requests: calls answered.
        total_errors: of these, without success.
        pool: the slots.
        in_flight: calls that are under way, those that wait included.
        by_provenance: calls answered, by who is responsible.
    """

    queue_size: int
    total_requests: int
    total_errors: int
    pool: PoolStatus
    in_flight: int
    by_provenance: Mapping[str, int]


@frozen(kw_only=True)
class ArtifactReadResponse:
    """A file, or its beginning."""

    success: bool
    content: str = ""
    error: str = ""
    encoding: Encoding = Encoding.TEXT
    truncated: bool = False
    bytes: int | None = None
    file_size: int | None = None
    path: str | None = None
    mime: str | None = None
    sha256: str | None = None


@frozen(kw_only=True)
class ArtifactEntry:
    """One of a folder.

    Args:
        path: relative to the workspace.
        is_dir: a folder; links are none.
        size: in bytes.
        mtime: when it was changed, in seconds since the epoch.
    """

    path: str
    is_dir: bool
    size: int
    mtime: float


@frozen(kw_only=True)
class ArtifactListResponse:
    """A folder's entries."""

    success: bool
    entries: tuple[ArtifactEntry, ...] = ()
    truncated: bool = False
    error: str = ""


@frozen(kw_only=True)
class ArtifactArchiveResponse:
    """An archive, base64."""

    success: bool
    content: str = ""
    error: str = ""
    encoding: str = "base64"
    format: str = "tar.gz"
    bytes: int | None = None
    entry_count: int | None = None


@frozen(kw_only=True)
class TransferResponse:
    """A file or a tree is there.

    Args:
        path: in the workspace.
        size: of the file, or of the tree's archive, in bytes.
        sha256: likewise.
        sent_bytes: how much of it came with this request.
        entries: of a tree; null: it was a file.
        skipped: what of a tree was left out, and why; the first hundred.
    """

    path: str
    size: int
    sha256: str
    sent_bytes: int
    entries: int | None = None
    skipped: Mapping[str, str] = field(factory=dict)


# --- reading ----------------------------------------------------------------------------------------------


def read_payload(kind: type[T], value: Any, *, where: str = "") -> T:
    """Read a request.

    Args:
        kind: one of the classes above.
        value: what the JSON said.
        where: of the value, in a larger one; for errors.

    Raises:
        InvalidInputError: it is none; ``field`` names the member.
    """
    if type(value) is not dict:
        raise InvalidInputError("must be a JSON object", field=where)
    try:
        return structure_arguments(kind, _known(kind, value))
    except InvalidInputError as error:
        path = ".".join(part for part in (where, error.field) if part)
        told = str(error).removeprefix(f"field '{error.field}': ")
        raise InvalidInputError(told, field=path) from None


def _known(kind: type, value: dict[str, Any]) -> dict[str, Any]:
    """What this version knows of it; the tool inside likewise."""
    known = {each.name: value[each.name] for each in attrs.fields(kind) if each.name in value}
    for name in _integers(kind) & known.keys():
        # JSON knows one kind of number, and a schema's `integer` takes 5.0; so did the ancestor.
        if type(known[name]) is float and known[name].is_integer():
            known[name] = int(known[name])
    tool = known.get("tool")
    if type(tool) is dict:
        known["tool"] = {name: each for name, each in tool.items() if name in _TOOL_MEMBERS}
    return known


@cache
def _integers(kind: type) -> frozenset[str]:
    """The members that are whole numbers."""
    return frozenset(name for name, hint in get_type_hints(kind).items() if int in (hint, *get_args(hint)))


_TOOL_MEMBERS: Final = frozenset(each.name for each in attrs.fields(ToolPayload))
