"""The agent's main loop. Runs in the slot, as PID 1 of its namespaces where there are any.

It lives as long as its socket: when the daemon goes, whichever way, the socket ends, the agent leaves, and
the kernel kills what is left in the PID namespace (at the lower levels the agent kills it itself first).
"""

from __future__ import annotations

import _socket
import ctypes
import errno
import os
import resource
import select
import struct
import sys

from sandbox_daemon.agent import commands, herd, paths, protocol, sessions

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
else:
    import _signal  # `signal` would pull `enum` into every agent

_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP = {"x86_64": 317, "aarch64": 277}
_SECCOMP_SET_MODE_FILTER = 1
_SECCOMP_FILTER_FLAG_SPEC_ALLOW = 4
"""Kernels before 5.16 would otherwise slow every process down with speculation mitigations."""

_MSG_CMSG_CLOEXEC = 0x40000000
"""linux/socket.h. What is passed for a command's three streams must not be held by it a second time."""
_ANCILLARY_SPACE = _socket.CMSG_SPACE(4 * protocol.MAX_DESCRIPTORS)
_SHELLS = {b"bash": b"/bin/bash", b"sh": b"/bin/sh"}


def main(descriptor: int) -> None:
    """Serves one socket until it ends."""
    os.set_inheritable(descriptor, False)  # it was, to get here; a command must never hold it
    sock = _socket.socket(fileno=descriptor)
    data, ancillary, _, _ = sock.recvmsg(protocol.MAX_MESSAGE_BYTES, _ANCILLARY_SPACE, _MSG_CMSG_CLOEXEC)
    kind, _, fixed, strings = protocol.unpack(data)
    if kind != protocol.CONFIGURE:
        raise SystemExit("the first message must be CONFIGURE")
    mode, grouped, *limits = fixed
    _check_sweep(mode)
    birthplace = commands.Birthplace(_enter_groups(_descriptors(ancillary), grouped=bool(grouped)))
    _settle(limits, strings[0])
    _filter(strings[2])
    agent = Agent(
        sock,
        herd.Herd(mode),
        birthplace,
        root=strings[0],
        environment=protocol.unpack_environment(strings[1]),
    )
    try:
        agent.serve()
    finally:
        agent.leave()


def _enter_groups(descriptors: list[int], *, grouped: bool) -> int:
    """Moves into the slot's groups; the descriptor of the one to come back to, or -1."""
    for descriptor in descriptors:
        os.write(descriptor, b"0")
    home = descriptors.pop(0) if grouped else -1
    for descriptor in descriptors:
        os.close(descriptor)
    return home


def _check_sweep(mode: int) -> None:
    """``kill(-1)`` outside a namespace, or as root, would end the machine: refuse to come up."""
    if mode == protocol.SWEEP_NAMESPACE and os.getpid() != 1:
        raise SystemExit("not PID 1 of a namespace of its own")
    if mode == protocol.SWEEP_UID and os.getuid() == 0:
        raise SystemExit("root has no uid of its own to sweep")


def _settle(limits: list[int], root: bytes) -> None:
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    os.umask(0o022)
    os.chdir(root)
    # The default action of a signal without handler does not reach PID 1; Python's own SIGINT handler would.
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    kinds = (resource.RLIMIT_NPROC, resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE, resource.RLIMIT_DATA)
    for kind, value in zip(kinds, limits):  # noqa: B905 - `strict` came with Python 3.10
        _lower(kind, value)
    _lower(resource.RLIMIT_CORE, 0, unlimited_is_zero=False)


def _filter(program: bytes) -> None:
    """Installs the seccomp program for this process and all it will start; ``OSError`` when it cannot."""
    if not program:
        return
    holder = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("@HP", len(program) // 8, ctypes.addressof(holder))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_long, ctypes.c_char_p)
    number = _SECCOMP[os.uname().machine]
    if libc.syscall(number, _SECCOMP_SET_MODE_FILTER, _SECCOMP_FILTER_FLAG_SPEC_ALLOW, header) != 0:
        code = ctypes.get_errno()
        raise OSError(code, "seccomp: " + os.strerror(code))


def _lower(kind: int, value: int, *, unlimited_is_zero: bool = True) -> None:
    """Sets soft and hard limit; 0 leaves it alone, and nothing is ever raised."""
    if value == 0 and unlimited_is_zero:
        return
    hard = resource.getrlimit(kind)[1]
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(kind, (value, value))


class Agent:
    """One slot's socket, workspace and processes."""

    def __init__(
        self,
        sock: _socket.socket,
        processes: herd.Herd,
        birthplace: commands.Birthplace,
        *,
        root: bytes,
        environment: dict[bytes, bytes],
    ) -> None:
        self._socket = sock
        self._herd = processes
        self._birthplace = birthplace
        self._environment = environment
        self._workspace = paths.Workspace(root)
        self._null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        self._buffer = bytearray(protocol.MAX_MESSAGE_BYTES)  # one for all: so large, each costs three mmaps
        self._wake, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        _signal.signal(_signal.SIGCHLD, lambda *_: None)
        _signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        self._verbs = {
            protocol.SPAWN: self._spawn,
            protocol.SIGNAL: self._signal,
            protocol.SWEEP: self._sweep,
            protocol.READ: self._read,
            protocol.WRITE: self._write,
            protocol.SURVEY: self._survey,
            protocol.SESSION: self._session,
            protocol.TERMINAL: self._terminal,
            protocol.INTERRUPT: self._interrupt,
            protocol.HOLDERS: self._holders,
            protocol.REOPEN: self._reopen,
        }

    def serve(self) -> None:
        """Until the socket ends."""
        self._socket.send(protocol.pack(protocol.HELLO, 0, _hello()))
        poll = select.poll()
        poll.register(self._socket.fileno(), select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        while True:
            for descriptor, _ in poll.poll():
                if descriptor == self._wake:
                    os.read(self._wake, 4096)
                    self._report(self._herd.reap())
                elif not self._receive():
                    return

    def leave(self) -> None:
        """Takes along what the kernel would not."""
        self._herd.leave()

    def _receive(self) -> bool:
        size, ancillary, flags, _ = self._socket.recvmsg_into(
            [self._buffer], _ANCILLARY_SPACE, _MSG_CMSG_CLOEXEC
        )
        if size == 0:
            return False
        data = bytes(memoryview(self._buffer)[:size])
        descriptors = _descriptors(ancillary)
        try:
            kind, call_id, fixed, strings = protocol.unpack(data)
            if flags & _socket.MSG_CTRUNC:  # we may not have more descriptors, and not all of them came
                self._fail(call_id, paths.PathError(protocol.REASON_OS, errno.EMFILE))
            else:
                self._verbs[kind](call_id, fixed, strings, descriptors)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        return True

    def _spawn(
        self, call_id: int, fixed: tuple[int, ...], strings: list[bytes], descriptors: list[int]
    ) -> None:
        shell, cwd, additions, command = strings
        given = list(descriptors)
        group = (-1, -1)
        if fixed[0] & protocol.SPAWN_GROUP:
            *given, procs, kill = given
            group = (procs, kill)
        extra = given.pop() if fixed[0] & protocol.SPAWN_COMMAND_FD else -1
        stdin = given.pop(0) if fixed[0] & protocol.SPAWN_STDIN else self._null
        environment = self._environment
        if additions:
            environment = {**environment, **protocol.unpack_environment(additions)}
        try:
            with _working_directory(self._workspace, cwd):
                started = commands.spawn(
                    call_id,
                    _SHELLS[shell],
                    command,
                    environment=environment,
                    stdio=(stdin, given[0], given[1]),
                    extra=extra,
                    birthplace=self._birthplace,
                    group=group,
                )
                self._herd.add(started)
        except paths.PathError as error:
            self._fail(call_id, error)
        except OSError as error:
            self._fail(call_id, paths.PathError(protocol.REASON_OS, error.errno or 0))

    def _signal(
        self, call_id: int, fixed: tuple[int, ...], strings: list[bytes], descriptors: list[int]
    ) -> None:
        self._herd.signal(call_id, fixed[0])

    def _sweep(
        self, call_id: int, fixed: tuple[int, ...], strings: list[bytes], descriptors: list[int]
    ) -> None:
        self._report(self._herd.sweep(call_id))

    def _read(
        self, call_id: int, fixed: tuple[int, ...], strings: list[bytes], descriptors: list[int]
    ) -> None:
        try:
            status, content, descriptor = self._workspace.read(strings[0], *fixed)
        except paths.PathError as error:
            self._fail(call_id, error)
            return
        told = (status.st_size, status.st_mode, status.st_mtime_ns, int(descriptor >= 0))
        message = protocol.pack(protocol.CONTENT, call_id, told, (content,))
        if descriptor < 0:
            self._socket.send(message)
            return
        rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack("i", descriptor))]
        self._socket.sendmsg([message], rights)
        os.close(descriptor)

    def _write(
        self, call_id: int, fixed: tuple[int, ...], strings: list[bytes], descriptors: list[int]
    ) -> None:
        flags, mode = fixed
        content = paths.Content(strings[1], descriptors[0] if flags & protocol.WRITE_PASSED else -1)
        try:
            size = self._workspace.write(strings[0], content, flags, mode)
        except paths.PathError as error:
            self._fail(call_id, error)
            return
        self._socket.send(protocol.pack(protocol.WRITTEN, call_id, (size,)))

    def _survey(
        self, call_id: int, fixed: tuple[int, ...], strings: list[bytes], descriptors: list[int]
    ) -> None:
        self._report(self._herd.reap())
        fixed = (self._herd.count(), int(not self._workspace.is_empty()))
        self._socket.send(protocol.pack(protocol.SURVEYED, call_id, fixed))

    # --- sessions: see sessions.py ---

    def _session(
        self, call_id: int, fixed: tuple[int, ...], strings: list[bytes], descriptors: list[int]
    ) -> None:
        argv, cwd, additions, terminal = strings
        given = list(descriptors)
        group = (-1, -1)
        if fixed[0]:
            *given, procs, kill = given
            group = (procs, kill)
        try:
            with _working_directory(self._workspace, cwd):
                started = sessions.start(
                    call_id,
                    argv.split(b"\0"),
                    environment={**self._environment, **protocol.unpack_environment(additions)},
                    terminal=terminal,
                    given=given,
                    birthplace=self._birthplace,
                    group=group,
                )
                self._herd.add_session(started)
        except paths.PathError as error:
            self._fail(call_id, error)
        except OSError as error:
            self._fail(call_id, paths.PathError(protocol.REASON_OS, error.errno or 0))

    def _terminal(
        self, call_id: int, fixed: tuple[int, ...], strings: list[bytes], descriptors: list[int]
    ) -> None:
        try:
            master, path = sessions.open_terminal(*fixed)
        except OSError as error:
            self._fail(call_id, paths.PathError(protocol.REASON_OS, error.errno or 0))
            return
        rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack("i", master))]
        self._socket.sendmsg([protocol.pack(protocol.TERMINAL_MADE, call_id, (), (path,))], rights)
        os.close(master)

    def _interrupt(
        self, call_id: int, fixed: tuple[int, ...], strings: list[bytes], descriptors: list[int]
    ) -> None:
        leader = self._herd.leader(fixed[0])
        if leader > 0:
            sessions.interrupt(leader, fixed[1], fixed[2])
        self._socket.send(protocol.pack(protocol.INTERRUPTED, call_id))

    def _holders(
        self, call_id: int, fixed: tuple[int, ...], strings: list[bytes], descriptors: list[int]
    ) -> None:
        leader = self._herd.leader(fixed[0])
        mask = sessions.held(leader) if leader > 0 else 0
        self._socket.send(protocol.pack(protocol.HELD, call_id, (mask,)))

    def _reopen(
        self, call_id: int, fixed: tuple[int, ...], strings: list[bytes], descriptors: list[int]
    ) -> None:
        self._workspace.reopen()
        os.fchdir(self._workspace.descriptor)
        self._socket.send(protocol.pack(protocol.REOPENED, call_id))

    def _report(self, ended: list[commands.Command]) -> None:
        for command in ended:
            self._socket.send(command.report())

    def _fail(self, call_id: int, error: paths.PathError) -> None:
        fixed = (error.reason, error.code, error.size)
        self._socket.send(protocol.pack(protocol.FAILED, call_id, fixed))


class _working_directory:
    """``fchdir`` for one spawn: Python's ``posix_spawn`` cannot do it in the child; we have one thread."""

    def __init__(self, workspace: paths.Workspace, cwd: bytes) -> None:
        self._workspace = workspace
        self._cwd = cwd

    def __enter__(self) -> None:
        if self._cwd == b".":
            return
        descriptor = self._workspace.open_directory(self._cwd)
        try:
            os.fchdir(descriptor)
        finally:
            os.close(descriptor)

    def __exit__(self, *_: object) -> None:
        if self._cwd == b".":
            return
        try:
            os.fchdir(self._workspace.descriptor)
        except OSError:  # the command was quick to close it; a refusal now would be a lie about what runs
            raise SystemExit("the workspace was closed behind a command") from None


def _descriptors(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    found: list[int] = []
    for level, kind, data in ancillary:
        if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
            count = len(data) // 4
            found.extend(struct.unpack(f"{count}i", data[: count * 4]))
    return found


def _hello() -> tuple[int, ...]:
    facts = {}
    with open("/proc/self/status", "rb") as file:
        for line in file:
            name, _, value = line.partition(b":")
            facts[name] = value.strip()
    capabilities = int(facts[b"CapEff"], 16)
    flags = int(facts[b"NoNewPrivs"]) | (int(facts.get(b"Seccomp", b"0")) == 2) << 1
    return protocol.VERSION, os.getpid(), os.getuid(), os.getgid(), capabilities, flags


if __name__ == "__main__":
    main(int(sys.argv[1]))
