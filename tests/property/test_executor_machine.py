"""An executor against a model: acquire, execute, cancel, limit, reset, disconnect, kill, in any order.

Each example is a program of steps for a few trajectories on one small daemon under the virtual clock. The
model knows what each trajectory's ledger must hold, whether it is lost, and how many slots are taken.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio
import trio.testing
from attrs import define, field
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hermes_trio.errors import Provenance
from hermes_trio.executor.executor import Executor, open_executor
from hermes_trio.testing.fake_daemon import FakeDaemon
from hermes_trio.testing.memory_backend import open_memory_backend
from hermes_trio.tools.calls import ToolCall, ToolResult

SLOTS = 2
NAMES = ("a", "b", "c")

VERBS = ("execute", "execute", "cancel", "limit", "read", "release", "quiesce", "disconnect", "kill", "away")
PROGRAMS = st.lists(st.tuples(st.sampled_from(VERBS), st.sampled_from(NAMES)), max_size=30)


@define
class Model:
    """What must be true."""

    ledgers: dict[str, list[str]] = field(factory=dict)
    """Of the trajectories that hold a slot."""
    lost: set[str] = field(factory=set)
    written: int = 0


@define
class Machine:
    """Does each step to the executor and to the model, and compares."""

    executor: Executor
    daemon: FakeDaemon
    model: Model = field(factory=Model)

    async def step(self, verb: str, name: str) -> None:
        """One step; a trajectory that could not get a slot is left alone."""
        full = len(self.model.ledgers) >= SLOTS and name not in self.model.ledgers
        if verb in {"execute", "cancel", "limit", "read"} and full and name not in self.model.lost:
            await trio.lowlevel.checkpoint()
            return
        doer: Callable[[str], object] = getattr(self, verb)
        await doer(name)  # type: ignore[misc]
        slots = self.executor.statistics().slots
        assert slots.lost == len(self.model.lost)
        assert slots.leased == len(self.model.ledgers)

    async def bash(self, name: str, command: str, limit_s: float = 30.0) -> ToolResult | None:
        """A call; ``None``: its trajectory is lost, and it said so."""
        result = await self.executor.execute(name, ToolCall("bash", {"command": command}), limit_s=limit_s)
        if name in self.model.lost:
            assert result.provenance is Provenance.SANDBOX_LOST
            return None
        self.model.ledgers.setdefault(name, [])
        return result

    def line(self, name: str) -> str:
        """What the next command writes; the model has it already."""
        self.model.written += 1
        if name not in self.model.lost:
            self.model.ledgers.setdefault(name, []).append(str(self.model.written))
        return f"echo {self.model.written} >> ledger"

    async def execute(self, name: str) -> None:
        """Writes a line."""
        result = await self.bash(name, self.line(name))
        assert result is None or result.success

    async def cancel(self, name: str) -> None:
        """Writes a line, sleeps, is cancelled: the line stays, the slot is free at once."""
        with trio.move_on_after(1):
            await self.bash(name, f"{self.line(name)} && sleep 20")

    async def limit(self, name: str) -> None:
        """Writes a line, and runs into its limit."""
        result = await self.bash(name, f"{self.line(name)} && sleep 20", limit_s=2)
        assert result is None or result.provenance is Provenance.LIMIT_EXCEEDED

    async def read(self, name: str) -> None:
        """The ledger is the model's: nothing twice, nothing missing, nothing of anybody else."""
        result = await self.bash(name, "cat ledger")
        if result is not None:
            assert result.output.split() == self.model.ledgers[name]

    async def release(self, name: str) -> None:
        """The slot is given back; what was lost may begin anew."""
        await self.executor.release(name)
        self.model.ledgers.pop(name, None)
        self.model.lost.discard(name)

    async def quiesce(self, name: str) -> None:
        """Quiet; the late call is denied; reopened."""
        if name in self.model.lost:
            await trio.lowlevel.checkpoint()
            return
        quiet = await self.executor.quiesce(name)
        call = ToolCall("bash", {"command": "echo late >> ledger"})
        assert (await self.executor.execute(name, call)).provenance is Provenance.DENIED
        quiet.reopen()

    async def disconnect(self, name: str) -> None:
        """The link breaks under a call: it runs once, and its result comes."""
        await trio.sleep(1)
        for link in list(self.daemon.links):
            link.break_link()  # type: ignore[attr-defined]
        if name in self.model.ledgers:
            await self.execute(name)

    async def kill(self, _name: str) -> None:
        """The daemon dies and is back: every workspace is lost."""
        self.daemon.kill()
        self._lose_all()
        await trio.sleep(10)

    async def away(self, _name: str) -> None:
        """The executor is cut off for longer than its leases."""
        self.daemon.lease_grace_s, grace_s = 0.5, self.daemon.lease_grace_s
        for peer in self.daemon._sessions.values():
            peer.end()
        self.daemon.lease_grace_s = grace_s
        self._lose_all()
        await trio.sleep(10)

    def _lose_all(self) -> None:
        self.model.lost |= set(self.model.ledgers)
        self.model.ledgers.clear()


@pytest.mark.slow
@given(program=PROGRAMS)
@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture], deadline=None)
def test_whatever_is_done_the_executor_is_its_model(program: list[tuple[str, str]]) -> None:
    """Every ledger holds what was written there under this lease, once; every slot comes back."""

    async def run() -> None:
        daemon = FakeDaemon(slots=SLOTS)
        async with open_memory_backend({"d": daemon}) as backend:
            async with open_executor(backend) as executor:
                machine = Machine(executor, daemon)
                for verb, name in program:
                    with trio.fail_after(300):
                        await machine.step(verb, name)
                for name in NAMES:
                    await machine.step("read", name)
                    await machine.step("release", name)
            assert daemon.free == SLOTS

    trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))
