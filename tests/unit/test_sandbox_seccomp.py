"""The seccomp filter, run by an interpreter of the few instructions that such filters are made of."""

from __future__ import annotations

import errno
import struct
import tempfile
from typing import Any

import pytest

from sandbox_daemon.isolation.seccomp import ALLOW, KILL, build_filter, denied_calls, deny, tuning_calls

ARCHES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
CLONE = {"x86_64": 56, "aarch64": 220}
SOCKET = {"x86_64": 41, "aarch64": 198}
IOCTL = {"x86_64": 16, "aarch64": 29}
CLONE3 = 435


def verdict(program: bytes, machine: str, number: int, *arguments: int, arch: int | None = None) -> int:
    """What the kernel would answer; linux/bpf_common.h and the layout of struct seccomp_data."""
    padded = (*arguments, *([0] * (6 - len(arguments))))
    data = struct.pack("=IIQ6Q", number, ARCHES[machine] if arch is None else arch, 0, *padded)
    accumulator, at = 0, 0
    while True:
        code, if_true, if_false, value = struct.unpack_from("=HBBI", program, at * 8)
        at += 1
        match code:
            case 0x20:
                (accumulator,) = struct.unpack_from("=I", data, value)
            case 0x06:
                return value
            case 0x15:
                at += if_true if accumulator == value else if_false
            case 0x35:
                at += if_true if accumulator >= value else if_false
            case 0x45:
                at += if_true if accumulator & value else if_false
            case 0x25:  # from here on libseccomp's only
                at += if_true if accumulator > value else if_false
            case 0x54:
                accumulator &= value
            case 0x05:
                at += value
            case _:
                raise AssertionError(f"unknown instruction {code:#x}")


@pytest.mark.parametrize("machine", ARCHES)
@pytest.mark.parametrize("sockets", [True, False])
def test_every_denied_call_is_denied_and_its_neighbours_are_not(machine: str, sockets: bool) -> None:
    """For all numbers there are."""
    program = build_filter(machine, sockets=sockets)
    denied = set(denied_calls(machine).values())
    special = {CLONE3, SOCKET[machine]}
    for number in range(460):
        if number in denied:
            assert verdict(program, machine, number) == deny(errno.EPERM), number
        elif number not in special:
            assert verdict(program, machine, number) == ALLOW, number


@pytest.mark.parametrize("machine", ARCHES)
def test_new_namespaces_are_refused_and_threads_are_not(machine: str) -> None:
    """By the flags of clone; clone3 hides them and must look as if it were not there."""
    program = build_filter(machine, sockets=True)
    thread = 0x3D0F00  # as glibc's pthread_create passes it
    assert verdict(program, machine, CLONE[machine], thread) == ALLOW
    assert verdict(program, machine, CLONE[machine], 17) == ALLOW
    for flag in (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000):
        assert verdict(program, machine, CLONE[machine], flag | 17) == deny(errno.EPERM), hex(flag)
    assert verdict(program, machine, CLONE3) == deny(errno.ENOSYS)


@pytest.mark.parametrize("machine", ARCHES)
def test_without_sockets_only_those_of_the_file_system_are_left(machine: str) -> None:
    """AF_UNIX is needed by half of all programs; the rest is the network."""
    cut, open_ = build_filter(machine, sockets=False), build_filter(machine, sockets=True)
    for family in (2, 10, 16, 17):
        assert verdict(cut, machine, SOCKET[machine], family) == deny(errno.EACCES)
        assert verdict(open_, machine, SOCKET[machine], family) == ALLOW
    assert verdict(cut, machine, SOCKET[machine], 1) == ALLOW


@pytest.mark.parametrize("machine", ARCHES)
@pytest.mark.parametrize("sockets", [True, False])
def test_sockets_that_no_network_namespace_holds_are_always_refused(machine: str, sockets: bool) -> None:
    """AF_VSOCK leads to the hypervisor from anywhere, AF_ALG into the kernel."""
    program = build_filter(machine, sockets=sockets)
    for family in (38, 40):
        assert verdict(program, machine, SOCKET[machine], family) == deny(errno.EACCES)


@pytest.mark.parametrize("machine", ARCHES)
def test_forging_input_of_a_terminal_is_refused(machine: str) -> None:
    """TIOCSTI and TIOCLINUX; other requests pass."""
    program = build_filter(machine, sockets=True)
    assert verdict(program, machine, IOCTL[machine], 0, 0x5412) == deny(errno.EPERM)
    assert verdict(program, machine, IOCTL[machine], 0, 0x541C) == deny(errno.EPERM)
    assert verdict(program, machine, IOCTL[machine], 0, 0x5401) == ALLOW


@pytest.mark.parametrize("machine", ARCHES)
def test_the_agent_cannot_be_tuned_and_everybody_else_can(machine: str) -> None:
    """PID 1 in either half-filled register: the kernel reads 32 bits of it."""
    program = build_filter(machine, sockets=True)
    for number in tuning_calls(machine).values():
        assert verdict(program, machine, number, 1) == deny(errno.EPERM)
        assert verdict(program, machine, number, 1 | 1 << 32) == deny(errno.EPERM)
        assert verdict(program, machine, number, 0) == ALLOW
        assert verdict(program, machine, number, 7) == ALLOW


def test_other_call_tables_of_the_same_machine_are_closed() -> None:
    """32-bit programs and x32 have other numbers for the same calls."""
    program = build_filter("x86_64", sockets=True)
    assert verdict(program, "x86_64", 11, arch=0x40000003) == KILL
    assert verdict(program, "x86_64", 0x40000000 + 1) == deny(errno.ENOSYS)


def test_a_machine_without_a_table_gets_no_filter() -> None:
    """Its probe says so."""
    assert build_filter("riscv64", sockets=True) == b""


def test_the_program_fits_the_kernels_bound() -> None:
    """BPF_MAXINSNS is 4096, and a jump reaches 255 instructions."""
    assert len(build_filter("x86_64", sockets=False)) // 8 < 256


@pytest.fixture(scope="module")
def seccomp() -> Any:
    """libseccomp, by its binding."""
    try:
        import pyseccomp
    except (ImportError, OSError, RuntimeError) as error:  # the binding is there and the library is not
        pytest.skip(f"needs libseccomp: {error}")
    return pyseccomp


def _made_by_libseccomp(seccomp: Any, machine: str, *, sockets: bool) -> bytes:
    """The same deny list, by the names of the calls: numbers, halves of arguments and jumps are its own."""
    arch = {"x86_64": seccomp.Arch.X86_64, "aarch64": seccomp.Arch.AARCH64}[machine]
    made = seccomp.SyscallFilter(seccomp.ALLOW)
    if arch != seccomp.system_arch():
        made.remove_arch(seccomp.system_arch())
        made.add_arch(arch)
    made.set_attr(seccomp.Attr.ACT_BADARCH, seccomp.KILL_PROCESS)

    def low(argument: int, value: int, mask: int = 0xFFFFFFFF) -> Any:
        return seccomp.Arg(argument, seccomp.MASKED_EQ, mask, value)

    refuse = seccomp.ERRNO(errno.EPERM)
    for name in denied_calls(machine):
        made.add_rule(refuse, name)
    made.add_rule(seccomp.ERRNO(errno.ENOSYS), CLONE3)
    for flag in NAMESPACES:
        made.add_rule(refuse, "clone", low(0, flag, flag))
    for request in (0x5412, 0x541C):
        made.add_rule(refuse, "ioctl", low(1, request))
    for name in tuning_calls(machine):
        made.add_rule(refuse, name, low(0, 1))
    no_access = seccomp.ERRNO(errno.EACCES)
    if sockets:
        for family in (38, 40):
            made.add_rule(no_access, "socket", low(0, family))
    else:
        made.add_rule(no_access, "socket", seccomp.Arg(0, seccomp.NE, 1))
    with tempfile.TemporaryFile() as file:
        made.export_bpf(file)
        file.seek(0)
        return file.read()


NAMESPACES = (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000)
FIRST = (0, 1, 2, 10, 16, 17, 38, 40, 44, 0x3D0F00, *NAMESPACES, *(flag | 17 for flag in NAMESPACES))
SECOND = (0, 0x5401, 0x5412, 0x5413, 0x541C)


@pytest.mark.slow
@pytest.mark.parametrize("machine", ARCHES)
@pytest.mark.parametrize("sockets", [True, False])
def test_the_filter_is_the_one_that_libseccomp_would_make(seccomp: Any, machine: str, sockets: bool) -> None:
    """Same verdict for every call and every argument that either looks at."""
    ours = build_filter(machine, sockets=sockets)
    theirs = _made_by_libseccomp(seccomp, machine, sockets=sockets)
    for number in range(601):
        for first in FIRST:
            for second in SECOND:
                expected = verdict(theirs, machine, number, first, second)
                assert verdict(ours, machine, number, first, second) == expected, (number, first, second)
    other = 0x40000003  # AUDIT_ARCH_I386
    assert verdict(ours, machine, 1, arch=other) == verdict(theirs, machine, 1, arch=other) == KILL


@pytest.mark.parametrize("machine", ARCHES)
def test_upper_halves_of_arguments_change_nothing(seccomp: Any, machine: str) -> None:
    """The kernel takes these arguments as 32 bits: what is above must not hide them."""
    ours = build_filter(machine, sockets=True)
    theirs = _made_by_libseccomp(seccomp, machine, sockets=True)
    high = 1 << 40
    for number, first, second in (
        (SOCKET[machine], high | 40, 0),
        (IOCTL[machine], 0, high | 0x5412),
        (CLONE[machine], high | 0x10000000, 0),
    ):
        expected = verdict(theirs, machine, number, first, second)
        assert verdict(ours, machine, number, first, second) == expected != ALLOW
