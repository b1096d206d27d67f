"""What a command in a slot can see, reach and change: nothing of the host's. Items 1 to 10 of the list."""

# ruff: noqa: ASYNC240 - a test may look at files, processes and clocks as it likes

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from hermes_trio.errors import Provenance

pytestmark = [pytest.mark.bubblewrap, pytest.mark.slow, pytest.mark.hostile]


async def test_output_that_looks_like_a_namespace_error_changes_nothing(slots) -> None:
    """The ancestor took such text for a broken sandbox and ran everything again without one."""
    counted = "echo x >> ran; echo 'bwrap: No permissions to create new namespace' >&2; false"
    outcome = await slots.bash(counted)
    assert outcome.data["exit_code"] == 1
    assert outcome.payload == b"bwrap: No permissions to create new namespace\n"
    assert outcome.data["isolation"] == "ns"
    assert (await slots.read("ran")).payload == b"x\n"


async def test_shadow_is_not_there(slots) -> None:
    """A slot has an ``/etc`` of its own."""
    outcome = await slots.bash("cat /etc/shadow /etc/gshadow /etc/sudoers")
    assert outcome.data["stdout_bytes"] == 0
    assert outcome.provenance is Provenance.TOOL_ERROR


async def test_sysctls_of_the_host_cannot_be_written(slots) -> None:
    """Being root inside, which bubblewrap started as root gives, would allow it."""
    path = Path("/proc/sys/kernel/core_pattern")
    before = path.read_text()
    outcome = await slots.bash(f"echo '|/bin/evil' > {path}")
    assert outcome.data["exit_code"] != 0
    assert path.read_text() == before


async def test_the_system_is_read_only_and_stays_so(slots) -> None:
    """Neither writing nor a remount reaches ``/usr``, ``/etc`` or ``/``."""
    for command in (
        "touch /usr/planted",
        "mount -o remount,bind,rw /usr && touch /usr/planted",
        "touch /planted",
        "touch /etc/planted",
        "rm -rf --no-preserve-root /usr /etc /bin",
        "chmod 777 /dev; touch /dev/planted",
    ):
        assert (await slots.bash(command)).data["exit_code"] != 0, command
    assert not Path("/usr/planted").exists()
    assert Path("/usr/bin/env").exists()


async def test_nothing_of_the_daemons_environment_is_seen(slots, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in a command's environment nor in that of PID 1."""
    monkeypatch.setenv("SECRET_OF_THE_DAEMON", "hunter2hunter2")
    await slots.pool.release(slots.lease)
    slots.lease = await slots.pool.acquire(owner="test", trajectory_id="again")
    text = await slots.text("env; cat /proc/1/environ /proc/*/environ")
    assert "hunter2" not in text
    assert "HOME=/workspace" in text


async def test_the_hosts_ports_cannot_be_reached(slots) -> None:
    """Without network a slot has a loopback device of its own, and it is down."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        for address in ("127.0.0.1", "::1", "0.0.0.0", socket.gethostbyname(socket.gethostname())):
            outcome = await slots.bash(f"exec 3<>/dev/tcp/{address}/{port}")
            assert outcome.data["exit_code"] != 0, address
        assert outcome.data["network_isolated"] is True


async def test_abstract_sockets_of_the_host_cannot_be_reached(slots) -> None:
    """They belong to a network namespace, not to the file system."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("\0hermes-test-abstract")
        listener.listen()
        program = "import socket; socket.socket(socket.AF_UNIX).connect(chr(0) + 'hermes-test-abstract')"
        outcome = await slots.bash(f'python3 -c "{program}"')
    assert outcome.data["exit_code"] != 0


async def test_the_hypervisor_cannot_be_reached(slots) -> None:
    """A network namespace does not hold AF_VSOCK: without the filter the machine below would answer."""
    program = "import socket; socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)"
    for network in (False, True):
        outcome = await slots.bash(f'python3 -c "{program}"', allow_network=network)
        assert b"PermissionError" in outcome.payload


async def test_a_call_that_may_use_the_network_gets_it_and_says_so(slots) -> None:
    """A change of policy starts a fresh agent on the same workspace."""
    await slots.write("kept", b"as it was")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        outcome = await slots.bash(f"exec 3<>/dev/tcp/127.0.0.1/{port}; cat kept", allow_network=True)
    assert (outcome.payload, outcome.data["network_isolated"]) == (b"as it was", False)
    outcome = await slots.bash(f"exec 3<>/dev/tcp/127.0.0.1/{port}")
    assert (outcome.data["exit_code"], outcome.data["network_isolated"]) == (1, True)


async def test_only_its_own_processes_are_seen(slots) -> None:
    """The PID namespace is its own, and so is ``/proc``."""
    pids = (await slots.text("ls /proc | grep '^[0-9]'")).split()
    assert pids[0] == "1"
    assert len(pids) <= 5
    assert (await slots.bash(f"kill -0 {os.getpid()}")).data["exit_code"] != 0


async def test_killing_everybody_kills_only_the_own_call(slots) -> None:
    """PID 1 of a namespace is beyond the signals of its inhabitants."""
    before = slots.agent_pid()
    for command in (
        "kill -9 -1",
        "kill -9 1; kill -STOP 1; kill -INT 1; kill -SEGV 1; kill -CHLD 1; echo done",
    ):
        await slots.bash(command)
    assert slots.agent_pid() == before
    assert await slots.text("echo ok") == "ok\n"


async def test_the_agent_cannot_be_touched_from_inside(slots) -> None:
    """It is not dumpable: no ptrace, memory, descriptors, environment; and the filter keeps its limits."""
    before = slots.agent_pid()
    attempts = (
        "cat /proc/1/mem",
        "ls -l /proc/1/fd/",
        "cat /proc/1/environ",
        "cat /proc/1/maps",
        "echo x > /proc/1/comm",
        "prlimit --pid 1 --nofile=7:7",
        "prlimit --pid 1 --as=1000:1000",
    )
    for attempt in attempts:
        outcome = await slots.bash(attempt)
        assert outcome.data["exit_code"] != 0, attempt
        assert outcome.data["stdout_bytes"] == 0, attempt
    assert slots.agent_pid() == before


async def test_other_slots_and_the_hosts_folders_are_not_there(slots) -> None:
    """A slot sees the system, its workspace, and nothing else."""
    await slots.pool.write_file(slots.neighbour, _write("secret"), content=b"of the neighbour")
    for path in ("/root", "/home", "/work", "/var/lib", "/srv", str(slots.workspace.parents[2])):
        assert (await slots.bash(f"ls {path}/*")).data["stdout_bytes"] == 0, path
    assert "of the neighbour" not in await slots.text(
        "grep -r 'of the' /workspace /tmp /run /var 2>/dev/null"
    )


def _write(path: str):
    from hermes_trio.wire.operations import WriteFileArguments

    return WriteFileArguments(path=path)


_REFUSED = """
import ctypes, errno, os
libc = ctypes.CDLL(None, use_errno=True)
machine = os.uname().machine
calls = {CALLS}
for name, number in calls.items():
    result = libc.syscall(number, 0, 0, 0, 0, 0)
    print(name, result, ctypes.get_errno())
"""


async def test_dangerous_system_calls_are_refused(slots) -> None:
    """Every call of the deny list answers EPERM, asked with the machine's own numbers."""
    from sandbox_daemon.isolation.seccomp import denied_calls

    calls = denied_calls(os.uname().machine)
    await slots.write("calls.py", _REFUSED.replace("{CALLS}", repr(calls)).encode())
    answers = dict(line.split(" ", 1) for line in (await slots.text("python3 calls.py")).splitlines())
    assert set(answers) == set(calls)
    assert {name: answer for name, answer in answers.items() if answer != "-1 1"} == {}


async def test_new_namespaces_are_refused(slots) -> None:
    """The usual way from a bug in the kernel to root."""
    for command in ("unshare --user true", "unshare --net true", "unshare --user --map-root-user id"):
        assert (await slots.bash(command)).data["exit_code"] != 0, command


async def test_setuid_programs_gain_nothing(slots) -> None:
    """Mounts are nosuid, and no exec gives privileges."""
    text = await slots.text(
        "cp /usr/bin/id .; chmod u+s ./id; ./id -u; grep -E '^(NoNewPrivs|CapEff)' /proc/self/status"
    )
    assert text.split() == ["1000", "CapEff:", "0000000000000000", "NoNewPrivs:", "1"]


async def test_temporary_folders_are_bounded(slots) -> None:
    """They are memory."""
    for folder in ("/tmp", "/dev/shm"):
        outcome = await slots.bash(f"head -c 300M /dev/zero > {folder}/fill; rm {folder}/fill")
        assert "No space left" in outcome.payload.decode()


async def test_core_dumps_and_open_files_are_bounded(slots) -> None:
    """Limits are set before the first command and cannot be raised."""
    assert (await slots.text("ulimit -c; ulimit -n; ulimit -f")).split() == ["0", "1024", "2097152"]
    assert (await slots.bash("ulimit -n 4096")).data["exit_code"] != 0
