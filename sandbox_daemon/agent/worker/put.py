"""Writing a file as it comes. Runs in the slot.

It is written beside its place, and put there when all of it has come and is right.
"""

from __future__ import annotations

import os
import stat

from sandbox_daemon.agent import paths, protocol
from sandbox_daemon.agent.worker.incoming import Incoming
from sandbox_daemon.agent.worker.listing import write_all
from sandbox_daemon.agent.worker.told import refuse, say

_PARTIAL = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_PIECE_BYTES = 1 << 20
_MAX_NAME = 255


def partial_name(name: bytes) -> bytes:
    """What a file is called until it is whole."""
    return b"." + name[: _MAX_NAME - 6] + b".part"


def put_file(workspace: paths.Workspace, *, path: bytes, offset: int, mode: int) -> None:
    """What comes becomes the file; ``offset`` bytes of it are here already.

    An upload that breaks off leaves what came of it, to be gone on with; one that cannot succeed leaves
    nothing.
    """
    directory, name, kept_mode = workspace.place(path, parents=True)
    partial = partial_name(name)
    descriptor = os.open(partial, _PARTIAL, 0o600, dir_fd=directory)
    incoming = Incoming()
    try:
        if not _resume(descriptor, offset, incoming):
            return
        while piece := incoming.piece():
            write_all(descriptor, piece)
        if not incoming.is_whole:
            incoming.check()
            return
        if not incoming.check():
            os.unlink(partial, dir_fd=directory)
            return
        os.fchmod(descriptor, kept_mode if mode < 0 else mode)
        os.rename(partial, name, src_dir_fd=directory, dst_dir_fd=directory)
    except OSError:
        os.unlink(partial, dir_fd=directory)
        raise
    finally:
        os.close(descriptor)
        os.close(directory)
    say("written", incoming.size)
    say("sha256", incoming.sha256)


def _resume(descriptor: int, offset: int, incoming: Incoming) -> bool:
    """Reads what is here already, and forgets what is behind it. False: it is not that much."""
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
        raise paths.PathError(protocol.REASON_NOT_REGULAR)
    while incoming.size < offset:
        piece = os.read(descriptor, min(_PIECE_BYTES, offset - incoming.size))
        if not piece:
            refuse(f"the upload cannot go on at {offset}: {incoming.size} bytes of it are here")
            return False
        incoming.count_in(piece)
    os.ftruncate(descriptor, offset)
    return True
