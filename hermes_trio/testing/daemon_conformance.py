"""What every daemon must do, as checks run through an executor: the fake is held to the real one by them.

A check takes an executor on a fleet of exactly :data:`SLOTS` slots that nobody else uses, and raises
``AssertionError`` when a promise is broken. Only words that the fake's shell knows are used.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import trio
import trio.testing

from hermes_trio.errors import Provenance
from hermes_trio.executor.executor import Executor
from hermes_trio.executor.stream import OutputChunk
from hermes_trio.tools.calls import ToolCall, ToolResult

SLOTS = 2

DaemonCheck = Callable[[Executor], Awaitable[None]]


async def _bash(executor: Executor, trajectory: str, command: str, **limits: Any) -> ToolResult:
    return await executor.execute(trajectory, ToolCall("bash", {"command": command}), **limits)


async def _write(executor: Executor, trajectory: str, path: str, content: str) -> ToolResult:
    return await executor.execute(trajectory, ToolCall("write_file", {"path": path, "content": content}))


async def _read(executor: Executor, trajectory: str, path: str) -> ToolResult:
    return await executor.execute(trajectory, ToolCall("read_file", {"path": path}))


async def exit_status_is_data(executor: Executor) -> None:
    """0 is success; anything else the tool's failure, with its number."""
    fine = await _bash(executor, "t", "true")
    assert (fine.success, fine.provenance, fine.metadata["exit_code"]) == (True, Provenance.OK, 0)
    failed = await _bash(executor, "t", "exit 3")
    assert (failed.success, failed.provenance) == (False, Provenance.TOOL_ERROR)
    assert (failed.error, failed.metadata["exit_code"]) == ("Exit code: 3", 3)


async def output_is_returned_and_counted(executor: Executor) -> None:
    """Text, and exact totals for both streams."""
    result = await _bash(executor, "t", "echo hello")
    assert result.output == "hello"
    assert (result.metadata["stdout_bytes"], result.metadata["stderr_bytes"]) == (6, 0)
    assert result.metadata["truncated"] is False


async def unknown_commands_are_the_tools_failure(executor: Executor) -> None:
    """127, as every shell has it."""
    result = await _bash(executor, "t", "no-such-command-anywhere")
    assert (result.provenance, result.metadata["exit_code"]) == (Provenance.TOOL_ERROR, 127)


async def a_limit_ends_a_command_and_keeps_its_output(executor: Executor) -> None:
    """The text is the ancestor's; what was printed before is there."""
    result = await _bash(executor, "t", "echo before && sleep 60", limit_s=1.0)
    assert result.provenance is Provenance.LIMIT_EXCEEDED
    assert result.error == "Command timed out after 1.0s"
    assert (result.output, result.metadata["timeout"]) == ("before", True)
    assert result.metadata["exit_code"] == -1


async def files_stay_with_their_trajectory(executor: Executor) -> None:
    """Written, read, and not seen next door."""
    wrote = await _write(executor, "a", "notes.txt", "mine")
    assert wrote.output == "Successfully wrote 4 bytes to notes.txt"
    assert (await _read(executor, "a", "notes.txt")).output == "mine"
    other = await _read(executor, "b", "notes.txt")
    assert (other.error, other.provenance) == ("File not found: notes.txt", Provenance.TOOL_ERROR)


async def files_are_read_and_written_in_parts(executor: Executor) -> None:
    """By bytes; what is added comes behind what is there."""
    await _write(executor, "t", "f", "one ")
    more = {"path": "f", "content": "two three", "append": True}
    assert (await executor.execute("t", ToolCall("write_file", more))).metadata["written_bytes"] == 13
    part = await executor.execute("t", ToolCall("read_file", {"path": "f", "offset": 4, "max_bytes": 9}))
    assert (part.output, part.metadata["truncated"]) == ("two three", False)


async def a_released_slot_comes_back_empty(executor: Executor) -> None:
    """Whoever gets it next finds nothing."""
    for name in ("a", "b"):
        await _write(executor, name, "left", "behind")
    for name in ("a", "b"):
        await executor.release(name)
    for name in ("c", "d"):
        assert (await _read(executor, name, "left")).error == "File not found: left"


async def a_slot_released_unwiped_on_request_is_handed_on(executor: Executor) -> None:
    """``reset_workspace=False``: whoever gets it next finds what was left; here both slots are."""
    for name in ("a", "b"):
        await _write(executor, name, "left", f"by {name}")
    for name in ("a", "b"):
        await executor.release(name, reset_workspace=False)
    found = {(await _read(executor, name, "left")).output for name in ("c", "d")}
    assert found == {"by a", "by b"}


async def calls_of_a_slot_run_one_after_another(executor: Executor) -> None:
    """In the order of asking, also when the first is slow."""
    order: list[str] = []

    async def run(name: str, command: str) -> None:
        await _bash(executor, "t", command)
        order.append(name)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, "slow", "sleep 0.3")
        await trio.sleep(0.1)
        nursery.start_soon(run, "quick", "true")
    assert order == ["slow", "quick"]


async def a_slow_slot_holds_up_nobody(executor: Executor) -> None:
    """No head of line between slots."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_bash, executor, "slow", "sleep 60")
        await trio.sleep(0.1)
        assert (await _bash(executor, "fast", "true")).success
        nursery.cancel_scope.cancel()


async def cancelling_frees_the_slot_for_the_next_call(executor: Executor) -> None:
    """The caller's scope reaches the command."""
    with trio.move_on_after(0.2):
        await _bash(executor, "t", "sleep 60")
    assert (await _bash(executor, "t", "echo free", limit_s=5.0)).output == "free"


async def cancelling_a_queued_call_means_it_never_runs(executor: Executor) -> None:
    """It waited for its turn; now it is as if it had never been asked."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_bash, executor, "t", "sleep 0.5")
        await trio.sleep(0.1)
        with trio.move_on_after(0.1):
            await _write(executor, "t", "never", "x")
    assert (await _read(executor, "t", "never")).error == "File not found: never"


async def release_ends_what_runs(executor: Executor) -> None:
    """Typed as cancelled, and the slot is there for the next."""
    results: list[ToolResult] = []

    async def run() -> None:
        results.append(await _bash(executor, "t", "sleep 60"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await trio.sleep(0.1)
        await executor.release("t")
    assert [result.provenance for result in results] == [Provenance.CANCELLED]
    assert (await _bash(executor, "t", "true")).success


async def more_trajectories_than_slots_all_finish(executor: Executor) -> None:
    """Waiting is first come, first served, and nobody is forgotten."""
    finished: list[int] = []

    async def one(number: int) -> None:
        assert (await _bash(executor, f"t{number}", "true")).success
        await executor.release(f"t{number}")
        finished.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(4 * SLOTS):
            nursery.start_soon(one, number)
    assert sorted(finished) == list(range(4 * SLOTS))


async def quiesce_waits_for_what_runs(executor: Executor) -> None:
    """When it returns, the call before it is over."""
    over = trio.Event()

    async def run() -> None:
        await _bash(executor, "t", "sleep 0.3")
        over.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await trio.sleep(0.1)
        await executor.quiesce("t")
        await trio.testing.wait_all_tasks_blocked()
        assert over.is_set()


async def a_quiet_slot_takes_no_calls_but_its_verifiers(executor: Executor) -> None:
    """Refused while it is asked for and afterwards; a release, or reopening, ends that."""
    await _write(executor, "t", "work", "done")
    quiet = await executor.quiesce("t")
    late = await _write(executor, "t", "work", "forged")
    assert late.provenance is Provenance.DENIED
    seen = await quiet.execute(ToolCall("read_file", {"path": "work"}))
    assert seen.output == "done"
    quiet.reopen()
    assert (await _write(executor, "t", "work", "more")).success
    await executor.quiesce("t")
    await executor.release("t")
    assert (await _read(executor, "t", "work")).error == "File not found: work"


async def _streamed(executor: Executor, trajectory: str, command: str) -> tuple[bytes, ToolResult]:
    """What came on the way, and the result."""
    await trio.lowlevel.checkpoint()
    data, results = b"", []
    async with executor.stream(trajectory, ToolCall("bash", {"command": command})) as stream:
        async for item in stream:
            if isinstance(item, ToolResult):
                results.append(item)
            else:
                assert not results, "the result is the last item"
                data += item.data
    [result] = results
    return data, result


async def output_can_be_had_as_it_comes(executor: Executor) -> None:
    """Before the command has ended; all of it; and the result says what it always says."""
    async with executor.stream("t", ToolCall("bash", {"command": "echo one && sleep 30"})) as stream:
        first = await anext(stream)
        assert isinstance(first, OutputChunk)
        assert (first.stream, first.data) == ("stdout", b"one\n")
    data, result = await _streamed(executor, "t", "head -c 1000000 /dev/zero")
    assert data == bytes(1_000_000)
    assert (result.success, result.metadata["stdout_bytes"]) == (True, 1_000_000)
    data, result = await _streamed(executor, "t", "exit 3")
    assert (data, result.error) == (b"", "Exit code: 3")


async def a_reader_that_stops_reading_stops_its_own_command_only(executor: Executor) -> None:
    """The neighbour goes on; what was printed is bounded; leaving ends the command."""
    async with executor.stream("t", ToolCall("bash", {"command": "head -c 50000000 /dev/zero"})) as stream:
        await anext(stream)
        for _ in range(10):
            assert (await _bash(executor, "u", "true")).success
        assert executor.statistics().links != {}
        received = sum(link.bytes_received for link in executor.statistics().links.values())
        assert received < 2_000_000
    assert (await _bash(executor, "t", "echo free", limit_s=5.0)).output == "free"


async def what_has_no_output_on_the_way_is_its_result(executor: Executor) -> None:
    """A file, a refusal, a tool that does not exist."""
    await _write(executor, "t", "f", "text")
    for call, output in (
        (ToolCall("read_file", {"path": "f"}), "text"),
        (ToolCall("no-such-tool", {}), ""),
    ):
        [result] = [item async for item in executor.stream("t", call)]
        assert isinstance(result, ToolResult)
        assert result.output == output


async def artifacts_are_had_past_the_model(executor: Executor) -> None:
    """Whole, in part, by name; what is not there is a value, and so is a trajectory without a slot."""
    nowhere = await executor.read_artifact("t", "f")
    assert (nowhere.success, nowhere.provenance) == (False, Provenance.UNAVAILABLE)
    await _write(executor, "t", "f", "0123456789")
    whole = await executor.read_artifact("t", "f", include_sha256=True)
    assert (whole.content, whole.truncated, whole.file_size) == ("0123456789", False, 10)
    assert whole.sha256 == "84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882"
    part = await executor.read_artifact("t", "f", offset=2, max_bytes=3)
    assert (part.content, part.truncated, part.sha256) == ("234", True, None)
    listing = await executor.list_artifacts("t")
    assert [(entry.path, entry.size, entry.is_dir) for entry in listing.entries] == [("f", 10, False)]
    missing = await executor.read_artifact("t", "g")
    assert (missing.reason, missing.error) == ("not_found", "File not found: g")


async def unoffered_operations_are_typed(executor: Executor) -> None:
    """An operation of a later daemon is an answer, not a broken link."""
    result = await executor.execute("t", ToolCall("bash_stateful", {"command": "true"}))
    assert result.provenance in {Provenance.UNAVAILABLE, Provenance.OK}


DAEMON_CHECKS: tuple[DaemonCheck, ...] = (
    exit_status_is_data,
    output_is_returned_and_counted,
    unknown_commands_are_the_tools_failure,
    a_limit_ends_a_command_and_keeps_its_output,
    files_stay_with_their_trajectory,
    files_are_read_and_written_in_parts,
    a_released_slot_comes_back_empty,
    a_slot_released_unwiped_on_request_is_handed_on,
    calls_of_a_slot_run_one_after_another,
    a_slow_slot_holds_up_nobody,
    cancelling_frees_the_slot_for_the_next_call,
    cancelling_a_queued_call_means_it_never_runs,
    release_ends_what_runs,
    more_trajectories_than_slots_all_finish,
    quiesce_waits_for_what_runs,
    a_quiet_slot_takes_no_calls_but_its_verifiers,
    output_can_be_had_as_it_comes,
    a_reader_that_stops_reading_stops_its_own_command_only,
    what_has_no_output_on_the_way_is_its_result,
    artifacts_are_had_past_the_model,
    unoffered_operations_are_typed,
)
"""Every check."""
