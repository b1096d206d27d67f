"""What a call can ask for: the names, their arguments and their reports.

A daemon announces the operations it offers in its welcome. A name that it does not offer is answered
``invalid_request``, so that names can be added without a new protocol version.

The classes are checked strictly at the daemon (``structure_arguments``): unknown fields, wrong types,
numbers out of range are an ``invalid_request`` that names the field.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from attrs import field, frozen


class Operation(StrEnum):
    """Every operation the protocol knows."""

    SLOT_ACQUIRE = "slot.acquire"
    """Waits for a slot. Result data: :class:`SlotAcquired`."""
    SLOT_RELEASE = "slot.release"
    """Gives a slot back; idempotent. Result data: :class:`SlotReleased`."""
    SLOT_QUIESCE = "slot.quiesce"
    """Answered when nothing runs in the slot any more."""
    SLOT_FORK = "slot.fork"
    """Slots for other trajectories, with copies of this one's workspace. Result data: :class:`SlotForked`."""
    SLOT_RESET = "slot.reset"
    """A fresh workspace, in the same slot. Result data: :class:`SlotResetReport`."""
    SLOT_DIFF = "slot.diff"
    """One page of how the workspace differs from its base. Result data: :class:`SlotDiffReport`; one segment:
    the changes, see ``wire/changes.py``."""
    BASE_BUILD = "base.build"
    """Makes a base of the slot's workspace. Result data: :class:`BaseReport`."""
    SLOT_STATUS = "slot.status"
    """What runs in a slot now; does not wait for the calls there. Result data: :class:`SlotStatusReport`."""

    BASH = "bash"
    """Result data: :class:`BashReport`; segments: stdout, stderr, as kept. Of a stream that was cut, the
    first ``max_output_bytes // 2`` bytes are its head and the rest its tail."""
    BASH_STATEFUL = "bash_stateful"
    """One shell for all such calls of a slot. Result data: :class:`StatefulReport`, and segments as for
    ``bash``."""
    TERMINAL = "terminal"
    """A program on a pseudo-terminal. Keys are the payload of ``send``, or named. Several calls may be under
    way at once: only ``start`` waits for its turn. Result data: :class:`TerminalReport`."""

    READ_FILE = "read_file"
    """Result data: :class:`ReadFileReport`; one segment: the content."""
    WRITE_FILE = "write_file"
    """The content is the call's payload. Result data: :class:`WriteFileReport`."""
    EDIT_FILE = "edit_file"
    """The payload is the text to replace, then the new one. Result data: :class:`EditFileReport`."""

    UPLOAD = "file.upload"
    """A file, or a tar archive to unpack, on input frames, and after it the 32 bytes of its SHA-256. Result
    data: :class:`UploadReport`."""
    DOWNLOAD = "file.download"
    """A file, or an archive of a folder, on output frames of stream ``data``; the call must have credit for
    them. Result data: :class:`DownloadReport`."""
    SEARCH = "file.search"
    """Lines that match a pattern. Result data: :class:`SearchReport`; one segment: the matches, see
    ``wire/listing.py``."""
    LIST = "file.list"
    """One page of a folder. Result data: :class:`ListReport`; one segment: the entries, see
    ``wire/listing.py``."""


@frozen(kw_only=True)
class SlotAcquireArguments:
    """No fields: the frame's ``trajectory_id`` says for whom."""


@frozen(kw_only=True)
class SlotAcquired:
    """The slot and the epoch to send with every call on it."""

    slot: str
    epoch: int


@frozen(kw_only=True)
class SlotReleaseArguments:
    """``reset``: wipe the workspace and everything in the slot, and prove it, before the next lease."""

    reset: bool = True


@frozen(kw_only=True)
class SlotReleased:
    """``state`` after it: ``ready``, ``dirty`` (kept as it was on request) or ``quarantined``."""

    state: str


@frozen(kw_only=True)
class SlotStatusArguments:
    """No fields: the lease says which slot."""


@frozen(kw_only=True)
class SlotStatusReport:
    """The slot's processes, oldest first, as many as a report holds: one place in each list for each."""

    pids: tuple[int, ...] = ()
    """As the daemon's host numbers them; inside the slot they have other numbers."""
    ages_s: tuple[float, ...] = ()
    commands: tuple[str, ...] = ()
    """The beginnings of their command lines."""
    total: int = 0
    """How many there are in all."""


@frozen(kw_only=True)
class SlotForkArguments:
    """``into``: the trajectories that get a copy; none of them may have a slot already."""

    into: tuple[str, ...]


@frozen(kw_only=True)
class SlotForked:
    """The new slots with their epochs, in the order of ``into``: all, or the fork has failed."""

    slots: tuple[str, ...]
    epochs: tuple[int, ...]


@frozen(kw_only=True)
class SlotResetArguments:
    """``base``: what the workspace begins with; ``None``: the base that it has, if it has one."""

    base: str | None = None


@frozen(kw_only=True)
class SlotResetReport:
    """``base``: what the workspace began with; ``None``: with nothing."""

    base: str | None


@frozen(kw_only=True)
class SlotDiffArguments:
    """A page that is ``truncated`` is continued by its last path as ``after_hex``."""

    after_hex: str = ""
    max_entries: int = 5000


@frozen(kw_only=True)
class SlotDiffReport:
    """``truncated``: there is more."""

    entries: int
    truncated: bool


@frozen(kw_only=True)
class BaseBuildArguments:
    """No fields: the lease says of which slot."""


@frozen(kw_only=True)
class BaseReport:
    """``base``: its name, a SHA-256 of all that is in it."""

    base: str


@frozen(kw_only=True)
class BashArguments:
    """One shell command. Standard input is the call's payload; empty means ``/dev/null``."""

    command: str
    allow_network: bool = False
    require_sandbox: bool = False
    shell: str = "bash"
    """``bash`` or ``sh``: run as ``/bin/<shell> -c command``."""
    cwd: str = "."
    """Relative to the workspace."""
    environment: Mapping[str, str] = field(factory=dict)
    """Added to the slot's clean environment."""
    max_output_bytes: int = 65_536
    """Kept of each stream, half of it head and half tail; totals are counted exactly."""
    no_output_limit_s: float | None = None
    """Longest time in which the command may print nothing; ``None``: any."""
    sha256: bool = False
    """Also report the SHA-256 of each stream, whole."""
    parallel: bool = False
    """Run beside other such calls of the slot, where the host can tell their processes apart."""


@frozen(kw_only=True)
class BashReport:
    """How the command ended. Units are in the names; ``None``: this host cannot tell."""

    exit_code: int
    """0..255; -1 when a limit or a cancel ended it; 128 + signal number when a signal did."""
    signal: int | None = None
    ending: str = "exited"
    """``exited``, ``signalled``, ``limit``, ``cancelled``, ``output_limit``, ``no_output_limit``, ``oom``,
    ``pids_limit``, ``sandbox_lost``. With ``oom`` and ``pids_limit`` the command ended itself, with the exit
    code that is told, after the slot had run into that limit."""
    duration_s: float
    kill_ms: float | None = None
    """How long it took until the whole process tree was gone, when it had to be killed."""
    stdout_bytes: int
    """Exact totals, whatever was kept."""
    stderr_bytes: int
    truncated: bool
    pipe_still_held: bool = False
    """A child outlived the command with its output open; it was killed."""
    cpu_s: float | None = None
    peak_memory_bytes: int | None = None
    sandboxed: bool
    network_isolated: bool
    isolation: str
    """Level: ``ns``, ``uid`` or ``none``."""
    order: tuple[tuple[int, int], ...] = ()
    """In which order the streams came, when both did: runs of (1 or 2, bytes), as the daemon read them; what
    comes within the first milliseconds counts as standard output first. Of a long alternation the first and
    the last 256 runs; the totals say what is missing between them."""
    oom_kills: int = 0
    """Processes of the slot that the kernel killed for memory meanwhile."""
    forks_refused: int = 0
    """How often the slot's limit of processes refused one meanwhile."""
    stdout_sha256: str | None = None
    stderr_sha256: str | None = None


@frozen(kw_only=True)
class StatefulArguments:
    """One command for the slot's stateful shell. Its standard input is ``/dev/null``."""

    command: str
    allow_network: bool = False
    """A change of it costs the shell: it is started anew, and the report says so."""
    require_stateful_sandbox: bool = False
    max_output_bytes: int = 65_536


@frozen(kw_only=True)
class StatefulReport(BashReport):
    """How the command went, and the shell.

    ``ending`` may also be ``session_exited``: the shell itself ended, by ``exit``, ``exec`` or ``set -e``,
    with the exit code that is told.
    """

    stateful: bool = True
    cwd: str = ""
    """The shell's directory afterwards; empty when it has ended."""
    session: int = 1
    """Which shell of this lease it was, counted from 1."""
    session_new: bool = False
    """This was its first command: nothing of earlier ones is known to it."""
    session_before: str = ""
    """How the shell before it ended, if there was one."""
    session_exited: bool = False
    session_lost: bool = False
    """The command was ended, and the shell with it because it did not come back."""
    background_bytes: int = 0
    """What processes in the background have printed since the call before."""
    background_output: str = ""
    """The end of it, at most 8 KiB."""


class TerminalAction(StrEnum):
    """What can be done with a terminal."""

    START = "start"
    """One of that name that runs is left as it is."""
    SEND = "send"
    """``keys`` by their names, then the payload; answered when all was typed and waited for."""
    CAPTURE = "capture"
    """Payload: the scrollback's lines, then the screen's."""
    OUTPUT = "output"
    """Payload: raw output from ``offset`` on; waits up to ``max_wait_s`` for some."""
    RECORDING = "recording"
    """Payload: whole lines of the asciicast from byte ``offset`` on."""
    RESIZE = "resize"
    STOP = "stop"
    """Ends it and forgets it, its recording too. Idempotent."""


@frozen(kw_only=True)
class TerminalArguments:
    """One thing to be done with a terminal of the slot."""

    action: str
    """A :class:`TerminalAction`."""
    name: str = "main"
    argv: tuple[str, ...] = ()
    """The program, looked for in ``PATH``, and its arguments; empty: an interactive bash."""
    columns: int = 120
    rows: int = 40
    allow_network: bool = False
    require_stateful_sandbox: bool = False
    keys: tuple[str, ...] = ()
    """Names of keys as tmux has them; a word that is none is typed as it is."""
    paste: bool = False
    """In brackets, if the program asked for that."""
    block: bool = False
    """Wait until the first program of the terminal has it again, at most ``max_wait_s``."""
    min_wait_s: float = 0.0
    max_wait_s: float = 0.0
    offset: int = 0
    max_bytes: int = 65_536
    scrollback_lines: int = 0
    show: bool = False
    """``start`` and ``send``: answer as ``capture`` does, when they are done."""
    follow: bool = False
    """``recording``: from where the last call with this ended, instead of ``offset``."""
    reset: bool = False
    """``recording`` with ``follow``: from the beginning again."""


@frozen(kw_only=True)
class TerminalReport:
    """How the terminal stands."""

    name: str
    columns: int
    rows: int
    running: bool
    exit_code: int | None = None
    """Of its program; 128 + signal number when a signal ended it."""
    started: bool = False
    """This call started it."""
    sent_bytes: int = 0
    settled: bool = True
    """``block``: it has the terminal again."""
    offset: int = 0
    """``output`` and ``recording``: where to go on."""
    first_offset: int = 0
    """``output``: where the payload begins; later than asked for when what lies between is no more kept."""
    cursor: tuple[int, int] = (0, 0)
    """Row and column, from 0."""
    alternate: bool = False
    """The program uses the alternate screen: it is a full-screen program."""
    screen_lines: int = 0
    """``capture``: how many of the lines are the screen's."""
    skipped_bytes: int = 0
    """Of a flood that was not emulated."""


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
