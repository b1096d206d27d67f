"""What a daemon says at the end, or of a single slot, and what becomes of it here."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from hermes_trio.errors import BrokenLinkError, BusyError, Provenance, RefusedError
from hermes_trio.executor.config import ExecutorConfig
from hermes_trio.executor.executor import open_executor
from hermes_trio.fleet.calls import CallRecord
from hermes_trio.fleet.connection import DaemonConnection
from hermes_trio.link.pump import PumpConfig
from hermes_trio.slots.pool import SlotPool
from hermes_trio.testing.fake_daemon import FakeDaemon
from hermes_trio.testing.links import open_memory_links
from hermes_trio.testing.memory_backend import MemoryBackend
from hermes_trio.tools.calls import ToolCall
from hermes_trio.wire.codec import encode_frame
from hermes_trio.wire.frames import Error, ErrorCode, Limits


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (ErrorCode.VERSION, RefusedError),
        (ErrorCode.UNAUTHORIZED, RefusedError),
        (ErrorCode.BUSY, BusyError),
        (ErrorCode.SESSION, BrokenLinkError),
    ],
)
async def test_an_error_says_whether_asking_again_is_any_use(
    autojump_clock: trio.testing.MockClock, code: ErrorCode, error: type[Exception]
) -> None:
    """The daemon's words reach whoever opened the link; later calls never start."""
    near, far = open_memory_links()
    connection = DaemonConnection(
        "d", listener=SlotPool(), on_open=lambda: None, limits=Limits(), pump=PumpConfig()
    )
    assert repr(connection) == "<DaemonConnection d opening, 0 calls sent, 0 queued>"
    await far.send_message(encode_frame(Error(code=code, message="not you")))

    async def hang_up() -> None:
        await trio.sleep(1)
        await far.aclose()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hang_up)
        with pytest.raises(error, match="not you"):
            await connection.run(near)
    record = CallRecord(operation="bash", arguments={})
    connection.submit(record)
    assert getattr(record.error, "outcome", None) == "not_started"


async def test_a_slot_that_was_taken_back_is_lost_to_its_trajectory_only(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Its place leaves service; a release lets the trajectory start anew elsewhere."""
    true = ToolCall(name="bash", arguments={"command": "true"})
    async with open_executor(MemoryBackend({"d": FakeDaemon(slots=2)})) as executor:
        await executor.execute("t", true)
        await executor.execute("u", true)
        lease, [connection] = executor._pool.lease("t"), executor._fleet.connections
        assert lease is not None
        executor._pool.lease_lost(connection, lease, "its disk broke")
        result = await executor.execute("t", true)
        assert (result.provenance, "its disk broke" in result.error) == (Provenance.SANDBOX_LOST, True)
        assert (await executor.execute("u", true)).success
        await executor.release("t")
        await executor.release("u")
        assert executor.statistics().slots.total == 1
        assert (await executor.execute("t", true)).success


async def test_a_call_that_does_not_die_costs_its_slot(autojump_clock: trio.testing.MockClock) -> None:
    """Its caller leaves after the grace, and nobody else gets that slot."""
    daemon = FakeDaemon(slots=1)
    config = ExecutorConfig(kill_grace_s=2)
    async with open_executor(MemoryBackend({"d": daemon}), config=config) as executor:
        await executor.execute("t", ToolCall(name="bash", arguments={"command": "true"}))
        [connection] = executor._fleet.connections
        connection.cancel = lambda _record, **_: False  # type: ignore[method-assign]
        with trio.move_on_after(1):
            await executor.execute("t", ToolCall(name="bash", arguments={"command": "sleep 50"}))
        assert trio.current_time() == pytest.approx(3)
        assert executor.statistics().slots.lost == 1
        assert executor.statistics().slots.total == 0
