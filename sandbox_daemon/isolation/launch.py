"""Starting an agent: sockets, the drop to the slot's uid, the hello, and what the kernel says about it."""

from __future__ import annotations

import array
import contextlib
import os
import signal
import socket
import struct
import subprocess
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import trio
from attrs import define, field

from sandbox_daemon.agent import protocol
from sandbox_daemon.isolation.cgroups import SlotGroup
from sandbox_daemon.isolation.levels import Level
from sandbox_daemon.isolation.policy import Launch, command_line, stage
from sandbox_daemon.isolation.processes import descendants
from sandbox_daemon.isolation.staging import call_staged
from sandbox_daemon.process.outcome import AgentStartError

START_LIMIT_S: Final = 20.0
"""Generous: a host that starts 64 agents at once on two cores needs a second for them all."""
_CREDENTIALS: Final = struct.Struct("3i")
_AGENT_NICE: Final = -10
_NAMESPACES: Final = ("user", "pid", "mnt", "ipc", "uts")
_SEND_BUFFER: Final = 4 * protocol.MAX_MESSAGE_BYTES
_NO_NEW_PRIVS: Final = 1
_SECCOMP: Final = 2
_COMPLAINT_BYTES: Final = 2000


@define(eq=False, kw_only=True)
class AgentProcess:
    """A started agent: its process, the launcher around it, and our end of its socket.

    Args:
        launch: what it was started as.
        launcher: the process we forked: bubblewrap at level ``ns``, else the agent itself.
        sock: our end.
        pid: the agent's, as we see it; PID 1 inside.
        group: the slot's control groups.
        pidfd: of the agent. Readable once it is dead, and at level ``ns`` the kernel lets PID 1 die only
            after everything in its namespace is gone: readable is the proof.
    """

    launch: Launch
    group: SlotGroup
    launcher: subprocess.Popen[bytes]
    sock: socket.socket = field(repr=False)
    pid: int
    pidfd: int

    def kill_nowait(self) -> None:
        """SIGKILL to the agent; fine when it is dead already."""
        self.launcher.send_signal(signal.SIGCONT)  # it ends by itself, when it has collected the agent
        try:
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        except ProcessLookupError:
            return

    async def wait_dead(self) -> None:
        """Waits until agent and launcher are gone, and reaps.

        Cancellation: atomic; may be waited for again.
        """
        await trio.lowlevel.wait_readable(self.pidfd)
        await _wait_exit(self.launcher)

    def close(self) -> None:
        """Gives up the descriptor; the link owns the socket."""
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1


async def start_agent(
    launch: Launch, *, group: SlotGroup, code_fd: int, configuration: bytes
) -> AgentProcess:
    """Launches an agent into the slot's groups and waits for its hello.

    Cancellation: atomic; what was started is killed first (shielded, at most 2 s).

    Raises:
        AgentStartError: it did not come up as ordered; nothing of it is left.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    complaints = os.memfd_create("launch", os.MFD_CLOEXEC)
    try:
        ours.setblocking(False)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        for sock in (ours, theirs):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        with group.entrances() as entrances:
            ours.sendmsg([configuration], _rights(entrances))
        fork = partial(_fork, launch, code_fd=code_fd, sock=theirs, complaints=complaints)
        launcher = await _staged(launch, fork)
        theirs.close()
        try:
            return await _greeted(launch, group, launcher, ours, complaints)
        except BaseException:
            with trio.CancelScope(shield=True), trio.move_on_after(2.0):
                await _abort(launcher, ours)
            raise
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
        os.close(complaints)


async def _staged(launch: Launch, fork: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
    if not launch.staged:
        await trio.lowlevel.checkpoint()
        return fork()
    try:
        return await trio.to_thread.run_sync(call_staged, fork, stage(launch))
    except OSError as error:
        raise AgentStartError(f"its file systems could not be mounted: {error.strerror}") from error


def _fork(launch: Launch, *, code_fd: int, sock: socket.socket, complaints: int) -> subprocess.Popen[bytes]:
    arguments = command_line(launch, code_fd=code_fd, socket_fd=sock.fileno())
    try:
        return subprocess.Popen(  # noqa: S603 - our own argument list, no shell
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=complaints,
            stderr=complaints,
            cwd="/",
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
            pass_fds=(code_fd, sock.fileno()),
            start_new_session=True,
            user=launch.uid,
            group=launch.uid,
            extra_groups=None if launch.uid is None else [],
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise AgentStartError(f"{arguments[0]} could not be run: {error}") from error


def _rights(descriptors: Sequence[int]) -> list[tuple[int, int, array.array[int]]]:
    return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []


async def _greeted(
    launch: Launch,
    group: SlotGroup,
    launcher: subprocess.Popen[bytes],
    ours: socket.socket,
    complaints: int,
) -> AgentProcess:
    try:
        with trio.fail_after(START_LIMIT_S):
            await trio.lowlevel.wait_readable(ours)
            data, ancillary, _, _ = ours.recvmsg(
                protocol.MAX_MESSAGE_BYTES, socket.CMSG_SPACE(_CREDENTIALS.size)
            )
    except trio.TooSlowError:
        raise AgentStartError(f"no hello within {START_LIMIT_S} s") from None
    except ConnectionResetError:
        data, ancillary = b"", []  # it ended with our first message unread
        await trio.lowlevel.checkpoint()
    if not data:
        raise AgentStartError(f"it ended before its hello: {_complaint(complaints)}")
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 0)
    pid, uid, _ = _credentials(ancillary)
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError as error:
        raise AgentStartError("it was killed after its hello") from error
    agent = AgentProcess(launch=launch, group=group, launcher=launcher, sock=ours, pid=pid, pidfd=pidfd)
    try:
        _check_hello(launch, data)
        _check_kernel(launch, pid, uid)
        _check_groups(group, pid)
        _prefer(pid)
    except BaseException:
        agent.kill_nowait()
        agent.close()
        raise
    return agent


def _prefer(pid: int) -> None:
    """Lets the agent run before the crowd of its own slot: it may have to kill 300 that all want to run.

    What it starts is at the usual priority again, by the kernel's doing (``SCHED_RESET_ON_FORK``, sched(7)).
    """
    with contextlib.suppress(OSError):  # we are not root: it has to wait its turn
        os.sched_setscheduler(pid, os.SCHED_OTHER | os.SCHED_RESET_ON_FORK, os.sched_param(0))
        os.setpriority(os.PRIO_PROCESS, pid, _AGENT_NICE)


def _credentials(ancillary: Sequence[tuple[int, int, bytes]]) -> tuple[int, int, int]:
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
            pid, uid, gid = _CREDENTIALS.unpack_from(data)
            return pid, uid, gid
    raise AgentStartError("its hello came without credentials")


def _check_hello(launch: Launch, data: bytes) -> None:
    """What the agent says of itself, before anything hostile ran in its slot."""
    try:
        kind, _, fixed, _ = protocol.unpack(data)
    except ValueError as error:
        raise AgentStartError(f"its hello is malformed: {error}") from error
    if kind != protocol.HELLO or fixed[0] != protocol.VERSION:
        raise AgentStartError("its first message is no hello of this version")
    _, pid, _, _, capabilities, flags = fixed
    if not flags & _NO_NEW_PRIVS:
        raise AgentStartError("it can gain privileges")
    if launch.seccomp and not flags & _SECCOMP:
        raise AgentStartError("it runs without the seccomp filter")
    if launch.level is not Level.NONE and capabilities:
        raise AgentStartError(f"it holds capabilities: {capabilities:#x}")
    if launch.level is Level.NS and pid != 1:
        raise AgentStartError(f"it is process {pid} of its namespace, not 1")


def _check_kernel(launch: Launch, pid: int, uid: int) -> None:
    """What the kernel says of it; a hello cannot forge that."""
    expected = os.getuid() if launch.uid is None else launch.uid
    if uid != expected:
        raise AgentStartError(f"it runs as uid {uid}, not {expected}")
    if launch.level is not Level.NS:
        return
    names = _NAMESPACES if launch.network else (*_NAMESPACES, "net")
    for name in names:
        if _namespace(pid, name) == _namespace(os.getpid(), name):
            raise AgentStartError(f"it shares the host's {name} namespace")


def _check_groups(group: SlotGroup, pid: int) -> None:
    try:
        inside = group.holds(pid)
    except OSError as error:
        raise AgentStartError(f"it is gone: {error.strerror}") from error
    if not inside:
        raise AgentStartError("it did not enter the slot's control groups")


def _namespace(pid: int, name: str) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/{name}")
    except PermissionError:
        return f"hidden: {pid}"  # it is not dumpable and we are not root: then its pid 1 and uid must do
    except OSError as error:
        raise AgentStartError(f"it is gone: {error.strerror}") from error


def _complaint(complaints: int) -> str:
    text = os.pread(complaints, _COMPLAINT_BYTES, 0).decode("utf-8", "replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "without a word"


async def _abort(launcher: subprocess.Popen[bytes], ours: socket.socket) -> None:
    """The socket's end makes an agent leave; a launcher at an earlier stage is killed, its child before it.

    That child waits until the launcher has written its map of uids, and would wait for ever. The launcher is
    stopped first, so that it has no other child by then.
    """
    ours.close()
    try:
        await trio.to_thread.run_sync(_stop, launcher, abandon_on_cancel=True)
    finally:
        if launcher.returncode is None:  # else its pid may be somebody else's
            for pid in list(descendants(launcher.pid)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            launcher.kill()
    await _wait_exit(launcher)


def _stop(launcher: subprocess.Popen[bytes]) -> None:
    """Returns when it has stopped, or ended: soon, unless the kernel holds it."""
    launcher.send_signal(signal.SIGSTOP)
    if launcher.returncode is None:
        os.waitid(os.P_PID, launcher.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)


async def _wait_exit(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        await trio.lowlevel.checkpoint()
        return
    pidfd = os.pidfd_open(process.pid)
    try:
        await trio.lowlevel.wait_readable(pidfd)
    finally:
        os.close(pidfd)
    process.wait()
