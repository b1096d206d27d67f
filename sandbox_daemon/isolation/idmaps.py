"""Maps of owners, one for each slot: on disk a slot's files belong to one uid that is the same for all slots.

A workspace that is forked, or a base that many slots share, has files, and each slot has a uid of its own
that could change none of them. The kernel translates owners mount by mount, through the map of a user
namespace: on disk everything is ``INNER_UID``'s, and each slot's mounts show that as the slot's. Root stays
root, for the overlay's own bookkeeping.

A user namespace needs a process to be made, not to last: a helper makes them all, and is gone once their
descriptors are ours. In a process with threads a fork of our own would be a gamble.

Source: user_namespaces(7), mount_setattr(2), Documentation/filesystems/idmappings.rst.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from typing import Final

from hermes_trio.errors import UnavailableError
from sandbox_daemon.isolation.etc import INNER_UID

_LIMIT_S: Final = 30.0
_HELPER: Final = """
import ctypes, os, resource, sys
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
libc = ctypes.CDLL(None, use_errno=True)
for uid in sys.argv[2:]:
    ready, go = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        failed = libc.unshare(0x10000000)
        os.write(ready[1], b"n" if failed else b"y")
        os.read(go[0], 1)
        os._exit(0)
    if os.read(ready[0], 1) != b"y":
        sys.exit("a user namespace cannot be made")
    for name in ("uid_map", "gid_map"):
        with open(f"/proc/{child}/{name}", "w") as file:
            file.write(f"0 0 1\\n{sys.argv[1]} {uid} 1\\n")
    print(os.open(f"/proc/{child}/ns/user", os.O_RDONLY), flush=True)
    os.write(go[1], b".")
    os.waitpid(child, 0)
    for end in (*ready, *go):
        os.close(end)
sys.stdin.read()
"""


def open_idmaps(uids: Sequence[int], *, interpreter: str) -> dict[int, int]:
    """For each uid a descriptor of a map from the owner on disk to it. Blocking, 1 ms each.

    Raises:
        UnavailableError: this host does not let us make them.
    """
    arguments = [interpreter, "-I", "-S", "-c", _HELPER, str(INNER_UID), *map(str, uids)]
    helper = subprocess.Popen(  # noqa: S603 - our own argument list, no shell
        arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    found: dict[int, int] = {}
    try:
        assert helper.stdout is not None
        for uid in uids:
            number = int(helper.stdout.readline())
            found[uid] = os.open(f"/proc/{helper.pid}/fd/{number}", os.O_RDONLY | os.O_CLOEXEC)
        helper.communicate(timeout=_LIMIT_S)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        helper.kill()
        _, complaint = helper.communicate()
        for descriptor in found.values():
            os.close(descriptor)
        why = (complaint.strip().splitlines() or [str(error)])[-1]
        raise UnavailableError(f"no map of owners: {why}.") from error
    return found
