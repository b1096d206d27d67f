"""The slots' ``/etc``: one small folder of our own, bound read-only into every slot.

No shadow, no keys, no host's users. Files that programs need and that are the same for all are copied;
folders are bound from the host over empty mount points.
"""

from __future__ import annotations

import shutil
from pathlib import Path

INNER_UID = 1000
"""Every slot is this user to itself; outside each has a uid of its own."""
INNER_NAME = "agent"
HOME = "/workspace"

_WRITTEN = {
    "passwd": f"root:x:0:0:root:/nonexistent:/usr/sbin/nologin\n"
    f"{INNER_NAME}:x:{INNER_UID}:{INNER_UID}::{HOME}:/bin/bash\n"
    "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    "group": f"root:x:0:\n{INNER_NAME}:x:{INNER_UID}:\nnogroup:x:65534:\n",
    "hosts": "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n127.0.1.1 sandbox\n",
    "hostname": "sandbox\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n",
    "shells": "/bin/sh\n/bin/bash\n",
    "fstab": "",
}
_COPIED = (
    "resolv.conf",
    "ld.so.cache",
    "ld.so.conf",
    "localtime",
    "timezone",
    "services",
    "protocols",
    "mime.types",
    "bash.bashrc",
    "profile",
    "inputrc",
    "os-release",
    "debian_version",
    "login.defs",
    "host.conf",
    "gai.conf",
    "locale.alias",
    "magic",
)
_BOUND = (
    "alternatives",
    "ssl/certs",
    "pki",
    "perl",
    "python3",
    "python3.11",
    "fonts",
    "terminfo",
    "ld.so.conf.d",
    "java-*",
    "maven",
    "vim",
)


def write_etc(folder: Path, *, source: Path = Path("/etc")) -> tuple[str, ...]:
    """Fills ``folder`` and returns the names to bind from the host over its empty folders."""
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)  # whatever the umask
    for name, text in _WRITTEN.items():
        _publish(folder / name, text.encode())
    for name in _COPIED:
        try:
            _publish(folder / name, (source / name).read_bytes())
        except OSError:
            continue
    _copy_openssl_configuration(folder, source)
    bound = [found for pattern in _BOUND for found in sorted(source.glob(pattern)) if found.is_dir()]
    for found in bound:
        _mount_point(folder, found.relative_to(source))
    return tuple(str(found.relative_to(source)) for found in bound)


def _publish(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(0o644)


def _mount_point(folder: Path, relative: Path) -> None:
    for part in (*reversed(relative.parents), relative):
        (folder / part).mkdir(exist_ok=True)
        (folder / part).chmod(0o755)


def _copy_openssl_configuration(folder: Path, source: Path) -> None:
    configuration = source / "ssl" / "openssl.cnf"
    if configuration.is_file():
        _mount_point(folder, Path("ssl"))
        shutil.copyfile(configuration, folder / "ssl" / "openssl.cnf")
        (folder / "ssl" / "openssl.cnf").chmod(0o644)
