"""The directories of a local backend: made at its start, removed at its end."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio
from attrs import frozen

from hermes_trio.errors import InvalidInputError, UnavailableError
from hermes_trio.telemetry.log import get_logger

_LASTING_TEMPORARY = Path("/var/tmp")  # noqa: S108 - mkdtemp makes the name; /tmp is small on many hosts
_TOKEN_BYTES = 32  # 256 bits
_PASSABLE = 0o711  # slots run under user ids of their own and must get through to their workspaces
_PRIVATE = 0o700
_REMOVAL_LIMIT_S = 20.0
_MOUNT_TABLE = Path("/proc/self/mountinfo")

logger = get_logger(__name__)


@frozen(kw_only=True)
class Places:
    """Where a local backend keeps what."""

    private: Path
    """Only this user can enter: the token and the ready files."""
    data: Path
    """Anybody may pass through: one directory of workspaces for each daemon."""

    @property
    def token_file(self) -> Path:
        """Where :meth:`write_token` puts it."""
        return self.private / "token"

    def write_token(self) -> str:
        """Make a token and leave it in a file that only this user can read."""
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        descriptor = os.open(self.token_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(token + "\n")
        return token

    def data_of(self, name: str) -> Path:
        """The directory of one daemon, made if it is not there."""
        directory = self.data / name
        directory.mkdir(mode=_PASSABLE, exist_ok=True)
        return directory

    def ready_file(self, name: str) -> Path:
        """Where one daemon says that it serves."""
        return self.private / f"{name}.ready"


@asynccontextmanager
async def open_places(data_dir: str | os.PathLike[str] | None) -> AsyncIterator[Places]:
    """Make the directories, and remove those that are ours at the end.

    Cancellation: shielded, at most 20 s.

    Args:
        data_dir: keep workspaces there and leave them there; ``None``: in a temporary directory.

    Yields:
        The directories.

    Raises:
        InvalidInputError: ``data_dir`` cannot be used.
        UnavailableError: no temporary directory can be made.
    """
    root = _make_root()
    try:
        yield _lay_out(root, None if data_dir is None else Path(data_dir))
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + _REMOVAL_LIMIT_S):
            # A tree too large for the limit is still removed, by the thread, after we have gone on.
            await trio.to_thread.run_sync(remove_tree, root, abandon_on_cancel=True)


def _make_root() -> Path:
    lasting = os.access(_LASTING_TEMPORARY, os.W_OK | os.X_OK)
    try:
        return Path(tempfile.mkdtemp(prefix="hermes-trio-", dir=_LASTING_TEMPORARY if lasting else None))
    except OSError as error:
        raise UnavailableError(f"No temporary directory can be made: {error}.", mend="Set TMPDIR.") from error


def _lay_out(root: Path, data_dir: Path | None) -> Places:
    root.chmod(_PASSABLE)
    private = root / "private"
    private.mkdir(mode=_PRIVATE)
    data = root / "data" if data_dir is None else data_dir.absolute()
    try:
        data.mkdir(mode=_PASSABLE, parents=True, exist_ok=True)
        usable = os.access(data, os.R_OK | os.W_OK | os.X_OK)
    except OSError as error:
        raise InvalidInputError(f"{error.strerror}", source=str(data), field="data_dir") from error
    if not usable:
        raise InvalidInputError("this user cannot write there", source=str(data), field="data_dir")
    return Places(private=private, data=data)


def remove_tree(root: Path) -> None:
    """Remove a directory and what agents left in it. Never follows a link or enters a mount; never raises."""
    if mounts := _mounts_below(root):
        logger.warning("a directory is not removed: something is still mounted", path=root, mount=mounts[0])
        return
    try:
        shutil.rmtree(root)
    except OSError:
        _unlock(root)
        shutil.rmtree(root, ignore_errors=True)
    if os.path.lexists(root):
        logger.warning("a directory could not be removed whole", path=root)


def _mounts_below(root: Path) -> list[str]:
    """Mount points inside a directory (proc(5), mountinfo: field 5, with octal escapes)."""
    try:
        lines = _MOUNT_TABLE.read_bytes().splitlines()
    except OSError:
        return []  # no such file, no such mounts: not Linux
    points = [_unescape(line.split(b" ")[4]) for line in lines]
    return [point for point in points if Path(point).is_relative_to(root)]


def _unescape(field: bytes) -> str:
    for code, char in ((b"\\040", b" "), (b"\\011", b"\t"), (b"\\012", b"\n"), (b"\\134", b"\\")):
        field = field.replace(code, char)
    return os.fsdecode(field)


def _unlock(root: Path) -> None:
    """Give ourselves back the directories whose modes keep us out."""
    for parent, names, _ in os.walk(root):
        for name in names:
            directory = Path(parent, name)
            if not directory.is_symlink():
                directory.chmod(_PRIVATE)
