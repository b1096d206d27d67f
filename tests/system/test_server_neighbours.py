"""The daemon's port, from a slot that has the host's network."""

from __future__ import annotations

import os
import socket

import pytest

import hermes_trio as ht
from sandbox_daemon.server.neighbours import Neighbours, owner_of

pytestmark = [pytest.mark.slow]

_KNOCK = """
import socket, sys
for host in sys.argv[2:]:
    try:
        with socket.create_connection((host, int(sys.argv[1])), timeout=5) as door:
            door.sendall(b"GET /health HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
            print(host, len(door.recv(100)))
    except OSError as error:
        print(host, type(error).__name__)
"""


def _own_address() -> str:
    """Of this host, as others see it; loopback where there is none other."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # nothing is sent
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


@pytest.mark.root
@pytest.mark.bubblewrap
async def test_a_slot_with_the_network_gets_no_word_out_of_the_daemon() -> None:
    """Not even the health that anybody else may read; its neighbours on the host still do."""
    async with ht.open_local_backend(slots=1, isolation="required") as backend:
        url = backend.board.snapshot.endpoints[0].url
        port = int(url.rpartition(":")[2])
        async with ht.open_executor(backend) as executor:
            write = ht.ToolCall("write_file", {"path": "knock.py", "content": _KNOCK})
            assert (await executor.execute("t", write)).success
            knock = f"python3 knock.py {port} 127.0.0.1 localhost {_own_address()}"
            result = await executor.execute("t", ht.ToolCall("bash", {"command": knock}))
            assert result.metadata["network_isolated"] is False
            words = [line.split()[1] for line in result.output.splitlines()]
            assert len(words) == 3
            assert set(words) <= {"0", "ConnectionResetError", "ConnectionRefusedError"}, result.output
        with socket.create_connection(("127.0.0.1", port), timeout=5) as door:
            door.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            assert door.recv(100).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_the_kernel_knows_whose_socket_the_other_end_is(address: str) -> None:
    """And says nothing of a connection that does not exist."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, 0), family=family) as listener:
        with socket.create_connection(listener.getsockname()[:2]) as near, listener.accept()[0] as far:
            ours, theirs = far.getsockname(), far.getpeername()
            assert owner_of(ours, theirs) == os.getuid()
            assert Neighbours({os.getuid()}).admit(ours, theirs) is False
            assert Neighbours({os.getuid() + 1}).admit(ours, theirs) is True
            assert Neighbours(()).admit(ours, theirs) is True
            assert near.getsockname() == theirs
        assert owner_of(ours, (theirs[0], 1, *theirs[2:])) is None


def test_one_who_cannot_be_told_may_speak() -> None:
    """There is a token for that; and the log says why."""
    assert Neighbours({1}).admit(("nonsense", 1), ("nonsense", 2)) is True
