"""PURE. What a trajectory left behind, as it is handed to whoever grades it: files, listings, archives.

Failure is a value here too. The members are the ancestor's, which its clients read by name
(:meth:`as_payload`), and a few more.
"""

from __future__ import annotations

import base64
import codecs
from collections.abc import Mapping
from mimetypes import MimeTypes
from typing import Any, Final

from attrs import field, frozen

from hermes_trio.errors import Provenance
from hermes_trio.wire.listing import EntryKind, ListedEntry

MAX_ARTIFACT_BYTES: Final = 5_000_000
MAX_ARTIFACT_ENTRIES: Final = 5_000
MAX_ARCHIVED_BYTES: Final = 256 * 1024 * 1024
"""Of the files in an archive together, before they are packed: a terabyte of zeros packs well, but slowly."""
ENCODINGS: Final = ("text", "base64")
FORMATS: Final = ("tar.gz", "tgz")

_TYPES: Final = MimeTypes(filenames=())  # the same on every machine


def mime_of(path: str) -> str | None:
    """What a name promises; ``None``: nothing."""
    return _TYPES.guess_type(path)[0]


@frozen(kw_only=True)
class ArtifactFailure:
    """Why there is none; the base of all three.

    Args:
        success: it is there.
        error: one line; empty on success.
        provenance: who is responsible.
        reason: a word of :class:`~hermes_trio.wire.operations.FileFailure`; empty when it was not the file.
    """

    success: bool
    error: str = ""
    provenance: Provenance = Provenance.OK
    reason: str = ""


@frozen(kw_only=True)
class ArtifactContent(ArtifactFailure):
    """A file, or a part of one.

    Args:
        path: as it was asked for.
        data: the bytes.
        offset: where in the file they begin.
        encoding: how :attr:`content` gives them, ``text`` or ``base64``.
        truncated: there is more of the file after them.
        file_size: size of the whole file.
        mime: what its name promises; ``None``: nothing.
        sha256: of the whole file, if it was asked for.
        mode: permission bits.
        mtime_ns: when it was changed, in nanoseconds since the epoch.
    """

    path: str
    data: bytes = field(default=b"", repr=False)
    offset: int = 0
    encoding: str = "text"
    truncated: bool = False
    file_size: int | None = None
    mime: str | None = None
    sha256: str | None = None
    mode: int | None = None
    mtime_ns: int | None = None

    @property
    def content(self) -> str:
        """The bytes in the encoding that was asked for.

        What is not UTF-8 becomes U+FFFD in text; a character that was cut at the end is left out.
        """
        if self.encoding == "base64":
            return base64.b64encode(self.data).decode("ascii")
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        return decoder.decode(self.data, final=not self.truncated)

    def as_payload(self) -> dict[str, Any]:
        """The ancestor's response, as JSON values."""
        return {
            "success": self.success,
            "content": self.content,
            "error": self.error,
            "encoding": self.encoding,
            "truncated": self.truncated,
            "bytes": len(self.data),
            "file_size": self.file_size,
            "path": shown(self.path),
            "mime": self.mime,
            "sha256": self.sha256,
        }


@frozen(kw_only=True)
class ArtifactEntry:
    """One entry of a listing.

    Args:
        path: relative to the workspace. Surrogates stand for bytes that are no UTF-8, as in ``os.fsdecode``:
            it can be asked for as it is.
        is_dir: it is a folder.
        is_link: it is a symbolic link.
        size: in bytes.
        mtime: when it was changed, in seconds since the epoch.
        mode: permission bits.
    """

    path: str
    is_dir: bool
    is_link: bool = False
    size: int
    mtime: float
    mode: int

    @classmethod
    def of(cls, entry: ListedEntry) -> ArtifactEntry:
        """As it was told."""
        return cls(
            path=entry.path.decode("utf-8", "surrogateescape"),
            is_dir=entry.kind is EntryKind.DIRECTORY,
            is_link=entry.kind is EntryKind.LINK,
            size=entry.size,
            mtime=entry.mtime_ns / 1e9,
            mode=entry.mode,
        )

    def as_payload(self) -> dict[str, Any]:
        """The ancestor's members, and ``path_base64`` beside a path that JSON cannot hold."""
        payload: dict[str, Any] = {
            "path": shown(self.path),
            "is_dir": self.is_dir,
            "size": self.size,
            "mtime": self.mtime,
        }
        if payload["path"] != self.path:
            payload["path_base64"] = base64.b64encode(bytes_of(self.path)).decode("ascii")
        return payload


@frozen(kw_only=True)
class ArtifactList(ArtifactFailure):
    """One page of a folder.

    Args:
        entries: in the order of their paths' components, a folder before what is in it.
        truncated: there is more; ask again with the last entry's path as ``after``.
        skipped: folders that could not be looked into, and why; the first hundred.
    """

    entries: tuple[ArtifactEntry, ...] = ()
    truncated: bool = False
    skipped: Mapping[str, str] = field(factory=dict)

    def as_payload(self) -> dict[str, Any]:
        """The ancestor's response, as JSON values."""
        return {
            "success": self.success,
            "entries": [entry.as_payload() for entry in self.entries],
            "truncated": self.truncated,
            "error": self.error,
        }


@frozen(kw_only=True)
class ArtifactArchive(ArtifactFailure):
    """A tree as a gzipped tar archive.

    Args:
        data: the archive.
        entry_count: what is in it.
        skipped: what is not, and why: FIFOs, sockets, devices, what may not be read; the first hundred.
        skipped_count: how many that are in all.
    """

    data: bytes = field(default=b"", repr=False)
    entry_count: int = 0
    skipped: Mapping[str, str] = field(factory=dict)
    skipped_count: int = 0

    def as_payload(self) -> dict[str, Any]:
        """The ancestor's response, as JSON values, and what was left out."""
        return {
            "success": self.success,
            "content": base64.b64encode(self.data).decode("ascii"),
            "error": self.error,
            "encoding": "base64",
            "format": "tar.gz",
            "bytes": len(self.data),
            "entry_count": self.entry_count,
            "skipped": {shown(path): why for path, why in self.skipped.items()},
            "skipped_count": self.skipped_count,
        }


def bytes_of(path: str | bytes) -> bytes:
    """The name that is meant. ``UnicodeEncodeError`` for surrogates that stand for nothing."""
    return path if isinstance(path, bytes) else path.encode("utf-8", "surrogateescape")


def text_of_path(path: str | bytes) -> str:
    """As :attr:`ArtifactEntry.path`."""
    return path if isinstance(path, str) else path.decode("utf-8", "surrogateescape")


def shown(path: str) -> str:
    """For JSON and for people: U+FFFD where the name is no UTF-8."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def path_arguments(path: str | bytes) -> dict[str, str]:
    """How a path travels: as text, or where it is none, in hexadecimal."""
    name = bytes_of(path)
    try:
        return {"path": name.decode("utf-8")}
    except UnicodeDecodeError:
        return {"path_hex": name.hex()}


def skipped_of(data: Mapping[str, Any]) -> dict[str, str]:
    """Of a report: paths that were left out, and why. ``ValueError`` when it is none."""
    return {text_of_path(bytes.fromhex(path)): str(why) for path, why in data.get("skipped", ())}
