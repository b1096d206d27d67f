"""Looking for a pattern in files: ripgrep where the slot has it, else our own. Runs in the slot.

A match is :data:`MATCH`, the file's path and the line; ``hermes_trio/wire/listing.py`` reads it at the far
end. Both engines look at the same files: hidden ones and ignored ones too, no links, nothing with NUL bytes.
"""

from __future__ import annotations

import os
import re
import stat
import struct
import subprocess
from fnmatch import translate

from sandbox_daemon.agent import paths
from sandbox_daemon.agent.worker.listing import write_all
from sandbox_daemon.agent.worker.told import Skipped, refuse, say
from sandbox_daemon.agent.worker.walk import Entry, Place, walk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MATCH = struct.Struct("!QHI")
"""Number of the line, length of the path, length of the text."""
MAX_LINE_BYTES = 500
MAX_FILE_BYTES = 64 * 1024 * 1024
_LOOKED_AT = 8192
"""Bytes in which a NUL tells that a file is no text."""
_STDOUT = 1
_PATH = (b"/usr/local/bin", b"/usr/bin", b"/bin")
_BAD_PATTERN = 2


class Found:
    """The matches, up to as many as are wanted."""

    def __init__(self, max_matches: int) -> None:
        self._max_matches = max_matches
        self._packed = bytearray()
        self.count = 0
        self.truncated = False

    def add(self, path: bytes, line: int, text: bytes) -> bool:
        """One line. False: that is enough."""
        if self.count >= self._max_matches:
            self.truncated = True
            return False
        text = text.rstrip(b"\r\n")[:MAX_LINE_BYTES]
        self._packed += MATCH.pack(line, len(path), len(text)) + path + text
        self.count += 1
        return True

    def tell(self) -> None:
        """On standard output, and how many on standard error."""
        write_all(_STDOUT, self._packed)
        say("entries", self.count)
        say("truncated", int(self.truncated))


def search(
    workspace: paths.Workspace,
    *,
    path: bytes,
    pattern: bytes,
    literal: bool,
    ignore_case: bool,
    glob: bytes,
    max_matches: int,
) -> None:
    """All that is asked for, in the order of the files' names where the engine is ours."""
    place = Place(workspace, path)
    found, skipped = Found(max_matches), Skipped()
    program = _ripgrep()
    say("ripgrep", int(bool(program)))
    if program:
        options = [b"--fixed-strings"] * literal + [b"--ignore-case"] * ignore_case
        if glob:
            options.append(b"--glob=" + glob)
        if not _run(program, [*options, b"--regexp=" + pattern], place, found):
            return
    else:
        try:
            expression = re.compile(re.escape(pattern) if literal else pattern, re.I if ignore_case else 0)
        except (re.error, RecursionError, OverflowError) as error:
            refuse(f"the pattern is no regular expression: {error}")
            return
        _look(place, expression, _chooser(place, glob), found, skipped)
    found.tell()
    skipped.tell()


def _ripgrep() -> bytes:
    for folder in _PATH:
        program = folder + b"/rg"
        if os.access(program, os.X_OK):
            return program
    return b""


_FIXED = (b"--no-config", b"--no-ignore", b"--hidden", b"--line-number", b"--no-heading", b"--null")
_LOOKS = (b"--color=never", b"--sort=path", b"--no-messages", b"--with-filename")


def _run(program: bytes, options: list[bytes], place: Place, found: Found) -> bool:
    """Ripgrep, in the place itself. False: it refused the pattern."""
    os.fchdir(place.descriptor)
    prefix = place.path + b"/" if place.path else b""
    command = [program, *_FIXED, *_LOOKS, *options, b"--", b"./"]
    cut = b""
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=-1, stderr=-1) as running:  # noqa: S603 - no shell
        assert running.stdout is not None
        assert running.stderr is not None
        for record in running.stdout:
            name, separator, rest = record.partition(b"\0")
            if not separator:  # a name with a line feed in it goes on
                cut += record
                continue
            name, cut = cut + name, b""
            number, _, text = rest.partition(b":")
            if not found.add(prefix + name[2:], int(number), text):
                running.kill()
                return True
        complaint = running.stderr.read(2000)
        if running.wait() == _BAD_PATTERN and complaint:
            refuse(complaint.decode("utf-8", "replace").strip())
            return False
    return True


def _chooser(place: Place, glob: bytes) -> Callable[[Entry], bool]:
    """Whether a file is meant: by its name, or where the glob has a slash, by its path below the place."""
    if not glob:
        return lambda _entry: True
    fits = re.compile(translate(os.fsdecode(glob)).encode("utf-8", "surrogateescape")).match
    start = len(place.path) + 1 if place.path else 0
    if b"/" in glob:
        return lambda entry: fits(entry.path[start:]) is not None
    return lambda entry: fits(entry.name) is not None


def _look(
    place: Place,
    expression: re.Pattern[bytes],
    wanted: Callable[[Entry], bool],
    found: Found,
    skipped: Skipped,
) -> None:
    for entry in walk(place, skipped, recursive=True):
        if entry.is_folder or not wanted(entry):
            continue
        for number, line in enumerate(_lines(entry, skipped), start=1):
            if expression.search(line) and not found.add(entry.path, number, line):
                return


def _lines(entry: Entry, skipped: Skipped) -> Iterator[bytes]:
    try:
        status = entry.status()
        if not stat.S_ISREG(status.st_mode):
            return
        if status.st_size > MAX_FILE_BYTES:
            skipped.note(entry.path, "too large")
            return
        descriptor = entry.open()
    except OSError as error:
        skipped.note(entry.path, os.strerror(error.errno or 0).lower())
        return
    with open(descriptor, "rb") as file:
        if b"\0" not in file.read(_LOOKED_AT):
            file.seek(0)
            yield from file
