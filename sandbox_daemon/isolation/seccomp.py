"""PURE: the seccomp filter, as the kernel takes it.

A deny list: what a shell, a compiler or a test suite needs is open ended, what a slot has no business with
is not. Denied calls answer EPERM, ``clone3`` ENOSYS (its flags lie in memory where no filter can look; C
libraries then fall back to ``clone``, whose flags we see). The kernel interfaces below were the way out of
containers again and again, or reach beyond the slot.

The program is emitted here rather than by libseccomp so that no shared library must exist on the host; tests
compare its verdicts with those of the program that libseccomp makes from the same list, for every call, and
ask the kernel in a slot.

Source: seccomp(2), linux/audit.h, linux/bpf_common.h, the kernel's syscall tables.
"""

from __future__ import annotations

import errno
import struct
from typing import Final

_ARCHES: Final = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32_BIT: Final = 0x40000000

#           name                x86_64 aarch64
_DENIED: Final[tuple[tuple[str, int, int], ...]] = (
    ("process_vm_readv", 310, 270),
    ("process_vm_writev", 311, 271),
    ("pidfd_getfd", 438, 438),
    ("kcmp", 312, 272),
    ("io_uring_setup", 425, 425),
    ("io_uring_enter", 426, 426),
    ("io_uring_register", 427, 427),
    ("bpf", 321, 280),
    ("perf_event_open", 298, 241),
    ("userfaultfd", 323, 282),
    ("add_key", 248, 217),
    ("request_key", 249, 218),
    ("keyctl", 250, 219),
    ("mount", 165, 40),
    ("umount2", 166, 39),
    ("pivot_root", 155, 41),
    ("chroot", 161, 51),
    ("open_tree", 428, 428),
    ("move_mount", 429, 429),
    ("fsopen", 430, 430),
    ("fsconfig", 431, 431),
    ("fsmount", 432, 432),
    ("fspick", 433, 433),
    ("mount_setattr", 442, 442),
    ("setns", 308, 268),
    ("unshare", 272, 97),
    ("kexec_load", 246, 104),
    ("kexec_file_load", 320, 294),
    ("init_module", 175, 105),
    ("finit_module", 313, 273),
    ("delete_module", 176, 106),
    ("reboot", 169, 142),
    ("swapon", 167, 224),
    ("swapoff", 168, 225),
    ("acct", 163, 89),
    ("quotactl", 179, 60),
    ("quotactl_fd", 443, 443),
    ("settimeofday", 164, 170),
    ("clock_settime", 227, 112),
    ("adjtimex", 159, 171),
    ("clock_adjtime", 305, 266),
    ("sethostname", 170, 161),
    ("setdomainname", 171, 162),
    ("syslog", 103, 116),
    ("vhangup", 153, 58),
    ("name_to_handle_at", 303, 264),
    ("open_by_handle_at", 304, 265),
    ("lookup_dcookie", 212, 18),
    ("fanotify_init", 300, 262),
    ("move_pages", 279, 239),
    ("migrate_pages", 256, 238),
    ("nfsservctl", 180, 42),
    ("iopl", 172, -1),
    ("ioperm", 173, -1),
    ("modify_ldt", 154, -1),
    ("uselib", 134, -1),
    ("ustat", 136, -1),
    ("sysfs", 139, -1),
)

_PTRACE: Final = ("ptrace", 101, 117)

_CLONE: Final = {"x86_64": 56, "aarch64": 220}
_CLONE3: Final = 435
_SOCKET: Final = {"x86_64": 41, "aarch64": 198}
_IOCTL: Final = {"x86_64": 16, "aarch64": 29}

_TUNING: Final = (
    ("prlimit64", 302, 261),
    ("sched_setparam", 142, 118),
    ("sched_setscheduler", 144, 119),
    ("sched_setaffinity", 203, 122),
    ("sched_setattr", 314, 274),
)
"""Calls that tune any process of the caller's uid, dumpable or not: refused for PID 1, which is the agent. By
``prlimit`` a command took away its descriptors and its memory, and so the slot of everybody after it."""
_AGENT: Final = 1

_NEW_NAMESPACES: Final = (
    0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000
)
"""CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET."""
_TIOCSTI: Final = 0x5412
_TIOCLINUX: Final = 0x541C
_AF_UNIX: Final = 1
_AF_ALG: Final = 38
"""The kernel's cryptography: a way in for unprivileged code again and again, and programs bring their own."""
_AF_VSOCK: Final = 40
"""To the hypervisor and to other listeners of this machine. No network namespace holds it: in a slot without
network the hypervisor answered. vsock(7)."""

_LOAD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
_JUMP_EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_JUMP_AT_LEAST: Final = 0x35  # BPF_JMP | BPF_JGE | BPF_K
_JUMP_ANY_BIT: Final = 0x45  # BPF_JMP | BPF_JSET | BPF_K
_RETURN: Final = 0x06  # BPF_RET | BPF_K

ALLOW: Final = 0x7FFF0000
KILL: Final = 0x80000000
_ERRNO: Final = 0x00050000

_NUMBER: Final = 0
_ARCH: Final = 4
_ARGUMENT_0: Final = 16
_ARGUMENT_1: Final = 24
"""Offsets in ``struct seccomp_data``; the low half of an argument comes first on little-endian machines."""


def deny(code: int) -> int:
    """The return value that makes a call fail with ``code``."""
    return _ERRNO | code


def denied_calls(machine: str, *, ptrace: bool = True) -> dict[str, int]:
    """Names and numbers of the calls that are denied whatever their arguments."""
    return _numbers(machine, _DENIED if ptrace else (*_DENIED, _PTRACE))


def tuning_calls(machine: str) -> dict[str, int]:
    """Names and numbers of the calls that are denied when they are about the agent."""
    return _numbers(machine, _TUNING)


def _numbers(machine: str, calls: tuple[tuple[str, int, int], ...]) -> dict[str, int]:
    numbers = {name: x86 if machine == "x86_64" else arm for name, x86, arm in calls}
    return {name: number for name, number in numbers.items() if number >= 0}


def build_filter(machine: str, *, sockets: bool, ptrace: bool = True) -> bytes:
    """The program for ``seccomp(2)``; empty for machines we have no table for.

    Args:
        machine: as in ``os.uname().machine``.
        sockets: false refuses every socket family but ``AF_UNIX``: the network cut of level ``uid``.
        ptrace: false refuses debuggers.
    """
    if machine not in _ARCHES:
        return b""
    rules = [_statement(_LOAD, _ARCH), _jump(_JUMP_EQUAL, _ARCHES[machine], 1, 0), _statement(_RETURN, KILL)]
    rules.append(_statement(_LOAD, _NUMBER))
    if machine == "x86_64":
        rules += [_jump(_JUMP_AT_LEAST, _X32_BIT, 0, 1), _statement(_RETURN, deny(errno.ENOSYS))]
    for number in denied_calls(machine, ptrace=ptrace).values():
        rules += _refuse(number, errno.EPERM)
    rules += _refuse(_CLONE3, errno.ENOSYS)
    rules += _inspect(_CLONE[machine], _ARGUMENT_0, ((_JUMP_ANY_BIT, _NEW_NAMESPACES, True),), errno.EPERM)
    stdin_forgers = ((_JUMP_EQUAL, _TIOCSTI, True), (_JUMP_EQUAL, _TIOCLINUX, True))
    rules += _inspect(_IOCTL[machine], _ARGUMENT_1, stdin_forgers, errno.EPERM)
    rules += _inspect(_SOCKET[machine], _ARGUMENT_0, _refused_families(sockets=sockets), errno.EACCES)
    for number in tuning_calls(machine).values():
        rules += _inspect(number, _ARGUMENT_0, ((_JUMP_EQUAL, _AGENT, True),), errno.EPERM)
    rules.append(_statement(_RETURN, ALLOW))
    return b"".join(rules)


def _refused_families(*, sockets: bool) -> tuple[tuple[int, int, bool], ...]:
    if not sockets:
        return ((_JUMP_EQUAL, _AF_UNIX, False),)
    return (_JUMP_EQUAL, _AF_ALG, True), (_JUMP_EQUAL, _AF_VSOCK, True)


def _statement(code: int, value: int) -> bytes:
    return struct.pack("=HBBI", code, 0, 0, value)


def _jump(code: int, value: int, if_true: int, if_false: int) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _refuse(number: int, code: int) -> list[bytes]:
    return [_jump(_JUMP_EQUAL, number, 0, 1), _statement(_RETURN, deny(code))]


def _inspect(number: int, offset: int, tests: tuple[tuple[int, int, bool], ...], code: int) -> list[bytes]:
    """Refuses call ``number`` when a test of one argument is met (or, with False, when it is not)."""
    body = [_statement(_LOAD, offset)]
    for test, value, refuse_when in tests:
        over, under = (0, 1) if refuse_when else (1, 0)
        body += [_jump(test, value, over, under), _statement(_RETURN, deny(code))]
    # The argument has replaced the number in the accumulator, and no later rule is about this call.
    body.append(_statement(_RETURN, ALLOW))
    return [_jump(_JUMP_EQUAL, number, 0, len(body)), *body]
