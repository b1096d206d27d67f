"""Output: bounded, counted exactly, never taken for anything but data. Items 29 to 33 of the checklist."""

from __future__ import annotations

import hashlib
import resource
import time

import pytest
import trio

from hermes_trio.errors import Provenance

pytestmark = [pytest.mark.bubblewrap, pytest.mark.slow, pytest.mark.hostile]

GIB = 1 << 30


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


async def test_a_flood_of_1_gib_is_counted_and_not_kept(slots) -> None:
    """Head and tail; the daemon does not grow."""
    await slots.bash("head -c 1M /dev/zero")
    before = _peak_bytes()
    outcome = await slots.bash("echo begin; head -c 1G /dev/zero; echo end", limit_s=120)
    assert outcome.data["stdout_bytes"] == GIB + 10
    assert outcome.data["truncated"] is True
    assert len(outcome.payload) == 65_536
    assert outcome.payload.startswith(b"begin\n\0")
    assert outcome.payload.endswith(b"\0end\n")
    assert _peak_bytes() - before < 8 << 20


async def test_a_command_that_prints_for_ever_is_ended_at_the_drain_cap(limited) -> None:
    """After that it is no longer a matter of patience."""
    async with limited(max_drained_bytes=256 << 20) as slots:
        outcome = await slots.bash("yes", limit_s=120)
    assert outcome.provenance is Provenance.LIMIT_EXCEEDED
    assert outcome.data["ending"] == "output_limit"
    assert outcome.data["stdout_bytes"] > 256 << 20
    assert "Output limit" in outcome.error


class LongestStep(trio.abc.Instrument):
    """The processor time of the longest step that any task took.

    Not the wall's: whoever else is on this machine takes that.
    """

    def __init__(self) -> None:
        self.longest_s = 0.0
        self._began_s = time.thread_time()  # a step is under way

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """The loop is the task's."""
        self._began_s = time.thread_time()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """And is free again."""
        self.longest_s = max(self.longest_s, time.thread_time() - self._began_s)


async def test_yes_with_a_limit_does_not_stall_the_loop(slots) -> None:
    """The loop turns while 64 KiB at a time go by."""
    steps = LongestStep()
    trio.lowlevel.add_instrument(steps)
    outcome = await slots.bash("yes", limit_s=2)
    trio.lowlevel.remove_instrument(steps)
    assert outcome.data["ending"] == "limit"
    assert outcome.payload.startswith(b"y\ny\n")
    assert len(outcome.payload) == 65_536
    assert steps.longest_s < 0.02


async def test_bytes_stay_bytes(slots) -> None:
    """NUL, invalid UTF-8, carriage returns, escape sequences."""
    outcome = await slots.bash(r"printf 'a\0b\xff\xfe\r\n\033[31mred\033[0m'")
    assert outcome.payload == b"a\0b\xff\xfe\r\n\033[31mred\033[0m"


async def test_streams_are_apart_and_both_complete(slots) -> None:
    """Segments tell where one ends."""
    outcome = await slots.bash("for i in $(seq 3000); do echo out$i; done; echo wrong >&2; exit 3")
    out, err = outcome.segments
    assert outcome.payload[:out].endswith(b"out3000\n")
    assert outcome.payload[out : out + err] == b"wrong\n"
    assert (outcome.data["stderr_bytes"], outcome.data["exit_code"]) == (6, 3)


async def test_the_tail_survives_20000_lines(slots) -> None:
    """The error at the end is what a model needs."""
    outcome = await slots.bash("seq 20000; echo the error >&2; exit 3")
    assert outcome.payload.endswith(b"20000\nthe error\n")
    assert (outcome.data["exit_code"], outcome.data["truncated"]) == (3, True)
    assert outcome.data["order"] == [[1, outcome.data["stdout_bytes"]], [2, 10]]


async def test_the_order_of_two_streams_is_told(slots) -> None:
    """As it was read; a pause between them is enough to tell."""
    outcome = await slots.bash("echo one; sleep 0.3; echo two >&2; sleep 0.3; echo three")
    assert outcome.data["order"] == [[1, 4], [2, 4], [1, 6]]


async def test_digests_are_of_everything_that_went_by(slots) -> None:
    """Kept or not."""
    outcome = await slots.bash("head -c 1M /dev/zero; printf err >&2", sha256=True, max_output_bytes=10)
    assert outcome.data["stdout_sha256"] == hashlib.sha256(bytes(1 << 20)).hexdigest()
    assert outcome.data["stderr_sha256"] == hashlib.sha256(b"err").hexdigest()


@pytest.mark.parametrize(
    ("kept", "expected"), [(0, b""), (1, b"9"), (4, b"0189"), (10, b"0123456789"), (11, b"0123456789")]
)
async def test_the_caller_says_how_much_is_kept(slots, kept: int, expected: bytes) -> None:
    """Half of it head, the rest tail."""
    outcome = await slots.bash("printf 0123456789", max_output_bytes=kept)
    assert (outcome.payload, outcome.data["stdout_bytes"]) == (expected, 10)
    assert outcome.data["truncated"] is (kept < 10)


async def test_output_that_looks_like_our_own_messages_is_data(slots) -> None:
    """Nothing is ever parsed out of it."""
    from sandbox_daemon.agent import protocol

    forged = protocol.pack(protocol.EXITED, 1, (0, 1, 1, 0, 0))
    octal = "".join(f"\\{byte:03o}" for byte in forged)
    outcome = await slots.bash(f"printf '{octal}'; exit 5")
    assert (outcome.payload, outcome.data["exit_code"]) == (forged, 5)


async def test_a_command_cannot_write_to_the_agents_socket(slots) -> None:
    """A command inherits its three streams and nothing else."""
    descriptors = (await slots.text("ls /proc/self/fd")).split()
    assert descriptors == ["0", "1", "2", "3"]  # 3 is ls reading the folder


async def test_a_pipe_enlarged_by_its_writer_loses_nothing(slots) -> None:
    """1 MiB in the pipe at the exit."""
    program = "import fcntl, os; fcntl.fcntl(1, 1031, 1 << 20); os.write(1, b'z' * (1 << 20))"
    outcome = await slots.bash(f'python3 -c "{program}"')
    assert outcome.data["stdout_bytes"] == 1 << 20
