"""Whether workspaces can lie on layers here: found out by doing."""

from __future__ import annotations

import os
from typing import Final

from sandbox_daemon.isolation.etc import INNER_UID
from sandbox_daemon.isolation.idmaps import open_idmaps
from sandbox_daemon.isolation.policy import STAGE, Device, Overlay
from sandbox_daemon.isolation.staging import call_staged
from sandbox_daemon.isolation.uids import DEFAULT_BASE
from sandbox_daemon.isolation.volumes import Volume

_NAMES: Final = ("lower", "upper", "work")


def try_overlay(volume: Volume, *, interpreter: str) -> None:
    """Mounts what a forked workspace is, changes a file of its layer, and looks whose it is.

    Args:
        volume: a fresh one; what is done to it stays there.
        interpreter: runs the helper that makes maps of owners.

    Raises:
        OSError: the kernel refuses something, or does something else.
        UnavailableError: it refuses the map of owners.
    """
    for name in _NAMES:
        (volume.root / name).mkdir()
    file = volume.root / "lower" / "file"
    file.write_bytes(b"below")
    os.chown(file, INNER_UID, INNER_UID)
    idmap = open_idmaps([DEFAULT_BASE], interpreter=interpreter)[DEFAULT_BASE]
    try:
        lower, upper, work = (f"{STAGE}/slot/{name}" for name in _NAMES)
        overlay = Overlay(f"{STAGE}/workspace", (lower,), upper, work)
        call_staged(lambda: _use(overlay.target), (Device(volume.device, f"{STAGE}/slot", idmap), overlay))
    finally:
        os.close(idmap)
    if file.read_bytes() != b"below":
        raise OSError("a layer was written to through the overlay on it")


def _use(root: str) -> None:
    path = f"{root}/file"
    if os.stat(path).st_uid != DEFAULT_BASE:
        raise OSError("an overlay does not show owners through the map of its layer")
    with open(path, "ab") as file:
        file.write(b"above")
    os.unlink(path)
