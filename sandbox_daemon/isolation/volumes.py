"""Volumes: a bounded file system for each slot, so that no slot fills the host's disk or inode table.

A volume is a sparse file with an ext4 file system in it, copied from a template, on a loop device. Measured
on two cores: 64 of them in 0.4 s, 152 KiB each when fresh. tmpfs was refused: it is memory, and a build tree
of a few GiB is ordinary work. Project quotas were refused: many kernels come without them.

Nothing of it has a name outside the daemon. The file is unlinked once the loop device has it, the device lets
go of it with its last user (``LO_FLAGS_AUTOCLEAR``), and the daemon's mount is attached nowhere
(``fsmount``): a daemon that is killed leaves no mount, no device and no file. An agent's launch mounts the
device a second time, in a mount namespace of its own; the kernel gives both the same file system.

There is no journal and there are no write barriers: what a slot holds need not survive the machine. The
price: without a journal ext4 does not give out an inode again for some minutes after its file was deleted,
and whoever makes a file tries all of those one by one (``recently_deleted`` in fs/ext4/ialloc.c). Where 5,000
files were deleted, the next 5,000 took 12.5 s instead of 0.9. So a volume counts its :attr:`~Volume.wear`,
and one that is worn out is closed: unread and unwritten, which is cheaper than to delete what is in it.

Source: loop(4), linux/loop.h, linux/fs.h, ext4(5), fsopen(2), mke2fs(8).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Final

from attrs import define

from hermes_trio.errors import UnavailableError
from sandbox_daemon.isolation.mounts import FILE_SYSTEM, open_device

_LOOP_GET_FREE: Final = 0x4C82
_LOOP_CONFIGURE: Final = 0x4C0A
_AUTOCLEAR: Final = 4
_BLKDISCARD: Final = 0x1277
_SHUTDOWN: Final = 0x8004587D
"""``EXT4_IOC_SHUTDOWN``: nothing of it is read or written any more."""
_WITHOUT_FLUSH: Final = struct.pack("=I", 2)
_LOOP_CONFIG: Final = struct.Struct("=II 40x 12x I 64x 64x 32x 16x 64x")
"""``struct loop_config``: file, block size, and of its ``loop_info64`` only the flags."""
_BLOCK_BYTES: Final = 4096
_MKFS_LIMIT_S: Final = 30.0
_LOOP_ATTEMPTS: Final = 1000
"""Each lost race for a free device means that somebody else got one."""


@define(eq=False)
class Volume:
    """One mounted volume. Made by :class:`VolumeMaker`.

    Args:
        device: path of its loop device.
    """

    device: str
    _loop: int
    _mount: int
    _size: int
    wear: int = 0
    """How many files were thrown away in it, at most: each makes the making of others slower."""

    @property
    def root(self) -> Path:
        """Its root, as a path that leads there in this process only."""
        return Path(f"/proc/self/fd/{self._mount}")

    def used(self) -> float:
        """How much of it is in use: blocks or inodes, whichever is more, from 0 to 1."""
        status = os.fstatvfs(self._mount)
        blocks = 1 - status.f_bfree / max(1, status.f_blocks)
        return max(blocks, 1 - status.f_ffree / max(1, status.f_files))

    def weight(self) -> int:
        """About what it costs to copy all that is in it: in blocks, a file as much as ten of them."""
        status = os.fstatvfs(self._mount)
        return status.f_blocks - status.f_bfree + 10 * (status.f_files - status.f_ffree)

    def note_wear(self) -> None:
        """What is in it now is thrown away."""
        status = os.fstatvfs(self._mount)
        self.wear += status.f_files - status.f_ffree

    def damaged(self) -> bool:
        """Whether the kernel met an error in it: of the host's disk, most likely, and once is enough."""
        path = f"/sys/fs/{FILE_SYSTEM}/{os.path.basename(self.device)}/errors_count"
        try:
            with open(path, "rb") as file:
                return int(file.read()) > 0
        except (OSError, ValueError):
            return False  # this kernel does not tell

    def close(self) -> None:
        """Lets go of it and of what is in it. Blocking, possibly long.

        No slot may have it any more. The file system is shut down first: else the kernel would write out what
        nobody will read, to punch it out of the file at once.
        """
        with contextlib.suppress(OSError):
            self._shut_down()
        os.close(self._mount)
        # The disk has its space back now, not when the last namespace that knows the mount is gone. After the
        # mount, for the kernel refuses while there are dirty blocks.
        with contextlib.suppress(OSError):
            fcntl.ioctl(self._loop, _BLKDISCARD, struct.pack("=QQ", 0, self._size))
        os.close(self._loop)

    def _shut_down(self) -> None:
        root = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if (
                os.fstat(root).st_dev == os.fstat(self._loop).st_rdev
            ):  # no other file system, whatever happens
                fcntl.ioctl(root, _SHUTDOWN, _WITHOUT_FLUSH)
        finally:
            os.close(root)


class VolumeMaker:
    """Makes volumes of one size. ``close`` it.

    Args:
        folder: where their files are, as long as they have a name.
        size_bytes: of each.
        max_files: inodes of each, as far as it has a block for every one of them.

    Raises:
        UnavailableError: this host cannot make them; the text says what mends it.
    """

    def __init__(self, folder: Path, *, size_bytes: int, max_files: int) -> None:
        self._folder = folder
        self._size = size_bytes
        self._made = 0
        self._template = _make_template(folder / "template", size_bytes, max_files)

    def make(self) -> Volume:
        """A fresh volume. Blocking, some ten milliseconds; ``OSError`` when the host refuses."""
        self._made += 1
        path = self._folder / f"volume-{self._made}"
        image = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.unlink(path)
            _copy_sparse(self._template, image, self._size)
            loop, device = _attach(image)
        finally:
            os.close(image)
        try:
            return Volume(device, loop, open_device(device), self._size)
        except BaseException:
            os.close(loop)
            raise

    def close(self) -> None:
        """No more volumes; those that were made stay."""
        os.close(self._template)


def _make_template(path: Path, size_bytes: int, max_files: int) -> int:
    """A descriptor of an empty file system in a file that has no name any more."""
    program = shutil.which("mkfs.ext4", path="/usr/sbin:/sbin:/usr/bin")
    if program is None:
        raise UnavailableError("mkfs.ext4 is not installed.", mend="Debian: apt-get install e2fsprogs.")
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.truncate(descriptor, size_bytes)
        features = ["-O", "^has_journal,^resize_inode", "-E", "lazy_itable_init=1,nodiscard"]
        blocks = ["-b", str(_BLOCK_BYTES), "-N", str(min(max_files, size_bytes // _BLOCK_BYTES)), "-m", "0"]
        subprocess.run(  # noqa: S603 - our own argument list, no shell
            [program, "-q", "-F", *features, *blocks, str(path)],
            check=True,
            capture_output=True,
            timeout=_MKFS_LIMIT_S,
        )
    except (OSError, subprocess.SubprocessError) as error:
        os.close(descriptor)
        text = f"mkfs.ext4 failed: {_words(error)}."
        raise UnavailableError(text, mend="Free some space in the data directory.") from error
    finally:
        os.unlink(path)
    return descriptor


def _words(error: Exception) -> str:
    output = getattr(error, "stderr", None)
    return output.decode("utf-8", "replace").strip() if output else str(error)


def _copy_sparse(source: int, target: int, size: int) -> None:
    os.truncate(target, size)
    end = 0
    while True:
        try:
            start = os.lseek(source, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # no data any more
                return
            raise
        end = os.lseek(source, start, os.SEEK_HOLE)
        while start < end:
            start += os.copy_file_range(source, target, end - start, start, start)


def _attach(image: int) -> tuple[int, str]:
    """A loop device on an open file: its descriptor and path."""
    control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    try:
        for _ in range(_LOOP_ATTEMPTS):
            device = f"/dev/loop{fcntl.ioctl(control, _LOOP_GET_FREE)}"
            loop = os.open(device, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.ioctl(loop, _LOOP_CONFIGURE, _LOOP_CONFIG.pack(image, 0, _AUTOCLEAR))
            except OSError as error:
                os.close(loop)
                if error.errno != errno.EBUSY:
                    raise
                continue
            return loop, device
    finally:
        os.close(control)
    raise OSError(errno.EBUSY, "no free loop device")
