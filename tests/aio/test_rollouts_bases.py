"""Who builds a task's base, who waits, and who is told of what: under the virtual clock."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from attrs import define, field

from hermes_trio.errors import NoBaseError, Provenance, SandboxLostError
from hermes_trio.executor.transfer import Transfer
from hermes_trio.executor.workspaces import BaseId
from hermes_trio.rollouts.bases import BaseFailedError, TaskBases
from hermes_trio.rollouts.tasks import TaskBase
from hermes_trio.tools.calls import ToolCall, ToolResult

BASE = TaskBase(setup=("make",))


@define
class Daemons:
    """An executor of which each trajectory is on the daemon that its name begins with."""

    results: list[ToolResult | Exception] = field(factory=list)
    upload_result: Transfer = field(factory=lambda: Transfer(success=True, path="."))
    gone: int = 0
    calls: list[str] = field(factory=list)
    used: list[tuple[str, str]] = field(factory=list)

    def daemon_of(self, trajectory_id: str) -> str | None:
        """The letter."""
        return trajectory_id[0]

    async def execute(
        self, trajectory_id: str, call: ToolCall, *, limit_s: float | None = None
    ) -> ToolResult:
        """One second, and what was planned."""
        self.calls.append(f"{trajectory_id}: {call.arguments['command']}")
        await trio.sleep(1)
        result = self.results.pop(0) if self.results else ToolResult(success=True)
        if isinstance(result, Exception):
            raise result
        return result

    async def upload(self, trajectory_id: str, local_path: str, path: str) -> Transfer:
        """At once."""
        self.calls.append(f"{trajectory_id}: {local_path} to {path}")
        await trio.lowlevel.checkpoint()
        return self.upload_result

    async def build_base(self, trajectory_id: str) -> BaseId:
        """Named after the daemon."""
        await trio.lowlevel.checkpoint()
        return BaseId(f"base of {trajectory_id[0]}")

    async def use_base(self, trajectory_id: str, base: BaseId) -> None:
        """It may be gone."""
        await trio.lowlevel.checkpoint()
        if self.gone:
            self.gone -= 1
            raise NoBaseError("gone")
        self.used.append((trajectory_id, base))


async def begin(bases: TaskBases, names: list[str], base: TaskBase = BASE) -> list[str]:
    """All at once; what each was refused with."""
    refused: list[str] = []

    async def one(name: str) -> None:
        try:
            await bases.begin(name, base)
        except BaseFailedError as error:
            refused.append(f"{error.provenance}: {error}")

    async with trio.open_nursery() as nursery:
        for name in names:
            nursery.start_soon(one, name)
    return refused


async def test_each_daemon_builds_once_and_the_others_wait(autojump_clock: trio.testing.MockClock) -> None:
    """And use what was built where they are."""
    daemons = Daemons()
    assert await begin(TaskBases(daemons), ["a1", "a2", "b1", "a3", "b2"]) == []
    assert sorted(call[0] for call in daemons.calls) == ["a", "b"]
    assert sorted(daemons.used) == [(n, f"base of {n[0]}") for n in ("a1", "a2", "a3", "b1", "b2")]
    assert trio.current_time() == pytest.approx(1, abs=0.1)


async def test_a_script_that_fails_is_run_once(autojump_clock: trio.testing.MockClock) -> None:
    """It is the task's fault, and everybody is told."""
    failed = ToolResult(success=False, output="so\nsad", error="exit 3", provenance=Provenance.TOOL_ERROR)
    daemons = Daemons(results=[failed])
    told = "tool_error: base.setup, command 1: exit 3 (sad)"
    assert await begin(TaskBases(daemons), ["a1", "a2", "a3"]) == [told] * 3
    assert len(daemons.calls) == 1


@pytest.mark.parametrize(
    "lost", [SandboxLostError("gone"), ToolResult(success=False, provenance=Provenance.SANDBOX_LOST)]
)
async def test_a_builder_that_lost_its_slot_leaves_it_to_the_next(
    lost: ToolResult | Exception, autojump_clock: trio.testing.MockClock
) -> None:
    """Whoever waited builds; only the one whose slot it was is lost."""
    daemons = Daemons(results=[lost])
    [refused] = await begin(TaskBases(daemons), ["a1", "a2", "a3"])
    assert refused.startswith("sandbox_lost: base")
    assert len(daemons.calls) == 2
    assert len(daemons.used) == 2


async def test_a_builder_that_is_cancelled_leaves_it_to_the_next(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Likewise."""
    daemons = Daemons()
    bases = TaskBases(daemons)
    async with trio.open_nursery() as nursery:
        with trio.move_on_after(0.5):
            nursery.start_soon(begin, bases, [])
            async with trio.open_nursery() as inner:
                inner.start_soon(bases.begin, "a1", BASE)
                await trio.testing.wait_all_tasks_blocked()
                nursery.start_soon(bases.begin, "a2", BASE)
    assert daemons.used == [("a2", "base of a")]
    assert len(daemons.calls) == 2


async def test_a_base_that_is_gone_is_built_again_but_not_for_ever(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A daemon that has room for none would have us build all day."""
    daemons = Daemons(gone=1)
    assert await begin(TaskBases(daemons), ["a1"]) == []
    assert len(daemons.calls) == 2
    daemons = Daemons(gone=99)
    [refused] = await begin(TaskBases(daemons), ["a1"])
    assert refused.startswith("unavailable: base: it was gone each time")
    assert len(daemons.calls) == 3


async def test_what_an_upload_leaves_out_is_a_failure(autojump_clock: trio.testing.MockClock) -> None:
    """A base that is nearly what was asked for is worse than none."""
    base = TaskBase(directory="/repo")
    daemons = Daemons(upload_result=Transfer(success=True, path=".", skipped={"s": "not a file"}))
    assert await begin(TaskBases(daemons), ["a1"], base) == ["tool_error: base: /repo: 's': not a file"]
    failed = Transfer(success=False, path=".", error="disk full", provenance=Provenance.TOOL_ERROR)
    daemons = Daemons(upload_result=failed)
    assert await begin(TaskBases(daemons), ["a1"], base) == ["tool_error: base: /repo: disk full"]


async def test_an_archive_is_unpacked_where_it_will_lie(autojump_clock: trio.testing.MockClock) -> None:
    """By the slot's own tar."""
    daemons = Daemons()
    assert await begin(TaskBases(daemons), ["a1"], TaskBase(archive="/r.tar.zst")) == []
    unpack = "a1: tar -xf .task-base && rm .task-base"
    assert daemons.calls == ["a1: /r.tar.zst to .task-base", unpack]


async def test_an_executor_without_bases_is_told_apart() -> None:
    """A double of a test, for instance."""
    assert await begin(TaskBases(object()), ["a1"]) == ["unavailable: this executor has no bases"]
