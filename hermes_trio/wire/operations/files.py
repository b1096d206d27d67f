"""Operations on files: their arguments and reports."""

from __future__ import annotations

from enum import StrEnum

from attrs import frozen


@frozen(kw_only=True)
class ReadFileArguments:
    """``path`` relative to the workspace, or absolute inside it.

    Without a range the whole file is meant, and one of more than ``max_bytes`` is refused. With one, as much
    of it comes as ``max_bytes`` allows. Bytes and lines cannot both be asked for.
    """

    path: str
    max_bytes: int = 100_000
    offset: int | None = None
    """The first byte wanted."""
    start_line: int | None = None
    """The first line wanted, counted from 1."""
    end_line: int | None = None
    """The last line wanted; ``None`` with a ``start_line``: the last there is."""


@frozen(kw_only=True)
class ReadFileReport:
    """``file_bytes``: size of the whole file."""

    file_bytes: int
    truncated: bool = False
    """Of a range: ``max_bytes`` cut it."""
    first_line: int | None = None
    """Of lines: the first that came, ..."""
    last_line: int | None = None
    """... the last that came, whole or in part; below ``first_line`` when none did, ..."""
    total_lines: int | None = None
    """... and how many the file has, if it was read to its end."""


@frozen(kw_only=True)
class WriteFileArguments:
    """The content is the call's payload; the file appears whole or not at all."""

    path: str
    max_bytes: int = 100_000
    append: bool = False
    """Behind what is there; a failure leaves that as it was."""
    mode: int | None = None
    """Permission bits; ``None``: those of the file that is replaced, else 0644."""
    parents: bool = True
    """Make the folders that are missing."""


@frozen(kw_only=True)
class WriteFileReport:
    """``written_bytes``: size of the file now."""

    written_bytes: int


class FileFailure(StrEnum):
    """Why a file operation did not happen: member ``reason`` of its result's data."""

    DENIED = "denied"
    """It lies outside the workspace. Whether it exists there is not told."""
    NOT_FOUND = "not_found"
    NOT_REGULAR = "not_regular"
    """A folder, FIFO, socket or device where a file was asked for."""
    NOT_DIRECTORY = "not_directory"
    TOO_LARGE = "too_large"
    TOO_MANY = "too_many"
    """More entries than were asked for."""
    NO_SPACE = "no_space"
    """The workspace is full, or the file larger than the slot's files may be."""
    OTHER = "other"
    """The text says what the system said."""


class Packing(StrEnum):
    """How a download comes."""

    FILE = "file"
    """A regular file's bytes."""
    TAR = "tar"
    """A folder as a tar archive (POSIX.1-2001 headers), names relative to it."""
    TAR_GZ = "tar.gz"


@frozen(kw_only=True)
class DownloadArguments:
    """``path`` as in :class:`ReadFileArguments`; ``path_hex`` instead of it for a name that is no text."""

    path: str = ""
    path_hex: str = ""
    packing: Packing = Packing.FILE
    offset: int = 0
    """Of a file: the first byte wanted. Behind its end nothing comes."""
    max_bytes: int | None = None
    """Most bytes to come; ``None``: all. A file is cut there, an archive refused."""
    max_entries: int = 1_000_000
    """Of an archive: most entries."""
    max_content_bytes: int | None = None
    """Of an archive: the sizes of the files in it, together; ``None``: what the slot's disk could hold."""
    full_names: bool = False
    """Of an archive: names relative to the workspace instead of the folder."""
    sha256: bool = False
    """Of a file: also report the digest of the whole file, whatever part of it was asked for."""


@frozen(kw_only=True)
class DownloadReport:
    """What came. ``sent_sha256`` is that of exactly the bytes on the output frames."""

    sent_bytes: int
    sent_sha256: str
    file_bytes: int | None = None
    """Of a file: its size when it was opened."""
    mode: int | None = None
    mtime_ns: int | None = None
    sha256: str | None = None
    """Of the whole file, if that was asked for."""
    entries: int | None = None
    """Of an archive."""
    skipped: tuple[tuple[str, str], ...] = ()
    """Of an archive: the first 100 paths that are not in it, in hexadecimal, and why."""
    skipped_count: int = 0


@frozen(kw_only=True)
class ListArguments:
    """``path`` and ``path_hex`` as in :class:`DownloadArguments`.

    The order is that of the paths' components, a folder before what is in it. A page that is ``truncated``
    is continued by its last path as ``after_hex``.
    """

    path: str = ""
    path_hex: str = ""
    recursive: bool = False
    after_hex: str = ""
    max_entries: int = 5000


@frozen(kw_only=True)
class ListReport:
    """``truncated``: there is more."""

    entries: int
    truncated: bool
    skipped: tuple[tuple[str, str], ...] = ()
    """Folders that could not be looked into, as in :class:`DownloadReport`."""
    skipped_count: int = 0


@frozen(kw_only=True)
class EditFileArguments:
    """The payload's first ``old_bytes`` bytes are what to replace; it must be there exactly once."""

    path: str
    old_bytes: int
    replace_all: bool = False
    """Every occurrence, however many there are."""


@frozen(kw_only=True)
class EditFileReport:
    """``first_line``: where the first replacement begins, counted from 1."""

    replacements: int
    written_bytes: int
    first_line: int


@frozen(kw_only=True)
class SearchArguments:
    """A regular expression, or with ``literal`` a text, looked for in each line of each text file.

    Files that hold NUL bytes are left out, links are not followed.
    """

    pattern: str
    path: str = "."
    literal: bool = False
    ignore_case: bool = False
    glob: str = ""
    """Only files whose name, or path below ``path``, fits; empty: all."""
    max_matches: int = 100


@frozen(kw_only=True)
class SearchReport:
    """``truncated``: there are more matches than were asked for."""

    matches: int
    truncated: bool
    engine: str
    """``ripgrep``, or ``python`` where the slot has none."""
    skipped_count: int = 0
    """Files and folders that could not be read or are too large."""


@frozen(kw_only=True)
class UploadArguments:
    """``path`` and ``path_hex`` as in :class:`DownloadArguments`; folders that are missing are made.

    A file appears when all of it has come and its digest is right. What has come of one is kept beside it
    as ``.<name>.part`` when the upload ends before its end, and an upload with an ``offset`` goes on there.
    """

    path: str = ""
    path_hex: str = ""
    unpack: bool = False
    """A tar archive comes, and ``path`` is the folder that it is unpacked into."""
    offset: int = 0
    """Bytes of the file that are there already."""
    mode: int | None = None
    """Permission bits of the file; ``None``: those of the file that is replaced, else 0644."""


@frozen(kw_only=True)
class UploadReport:
    """What is there now."""

    written_bytes: int
    """Size of the file; of an archive, the bytes that came of it."""
    sha256: str
    """Of the file, or of the archive as it came."""
    entries: int | None = None
    """Of an archive."""
    skipped: tuple[tuple[str, str], ...] = ()
    """Of an archive: what was not unpacked, as in :class:`DownloadReport`."""
    skipped_count: int = 0
