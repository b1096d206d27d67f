"""The seccomp filter, run by an interpreter of the four instructions it is made of."""

from __future__ import annotations

import errno
import struct

import pytest

from sandbox_daemon.isolation.seccomp import ALLOW, KILL, build_filter, denied_calls, deny

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
