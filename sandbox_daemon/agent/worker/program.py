"""The worker's main: one job, as the daemon asked for it. Runs in the slot, and ends with its job."""

from __future__ import annotations

import os

from sandbox_daemon.agent import paths, protocol
from sandbox_daemon.agent.worker import told

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def main(job: dict[str, Any]) -> int:
    """Does it; the exit status says nothing more than that there was something to say."""
    os.umask(0o022)
    paths.hide()  # from whatever else runs in the slot under the same uid
    try:
        verb = _VERBS[job.pop("verb")]
        verb(paths.Workspace(job.pop("root")), job)
    except paths.PathError as error:
        told.failed(error)
    except OSError as error:
        told.failed(paths.PathError(protocol.REASON_OS, error.errno or 0))
    else:
        told.say("done", 1)
    return 0


# Each imports what it needs: an archive needs five modules that a listing does not.


def _list(workspace: paths.Workspace, job: dict[str, Any]) -> None:
    from sandbox_daemon.agent.worker.listing import list_folder

    list_folder(workspace, **job)


def _pack(workspace: paths.Workspace, job: dict[str, Any]) -> None:
    from sandbox_daemon.agent.worker.pack import pack_tree

    pack_tree(workspace, **job)


def _search(workspace: paths.Workspace, job: dict[str, Any]) -> None:
    from sandbox_daemon.agent.worker.search import search

    search(workspace, **job)


def _put(workspace: paths.Workspace, job: dict[str, Any]) -> None:
    from sandbox_daemon.agent.worker.put import put_file

    put_file(workspace, **job)


def _unpack(workspace: paths.Workspace, job: dict[str, Any]) -> None:
    from sandbox_daemon.agent.worker.unpack import unpack_tree

    unpack_tree(workspace, **job)


def _restore(workspace: paths.Workspace, job: dict[str, Any]) -> None:
    from sandbox_daemon.agent.worker.restore import restore_tree

    restore_tree(workspace, **job)


_VERBS = {
    "list": _list,
    "pack": _pack,
    "search": _search,
    "put": _put,
    "unpack": _unpack,
    "restore": _restore,
}
