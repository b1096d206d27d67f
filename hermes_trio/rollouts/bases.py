"""Bases of tasks: each is built once on every daemon that needs it, and shared by all who begin there.

Whoever needs one first, on its daemon, builds it in its own slot; those who come meanwhile wait. Carrying a
base from daemon to daemon was refused: daemons build side by side, and nothing has to be kept here.

A base may be gone when it is wanted: its daemon was started anew, or has removed the least recently used.
Then it is built again.
"""

from __future__ import annotations

from typing import Final, Protocol, runtime_checkable

import trio
from attrs import define, field

from hermes_trio.errors import HermesTrioError, NoBaseError, Provenance, UnavailableError
from hermes_trio.executor.transfer import Transfer
from hermes_trio.executor.workspaces import BaseId
from hermes_trio.rollouts.record import provenance_of
from hermes_trio.rollouts.tasks import TaskBase
from hermes_trio.telemetry.log import get_logger
from hermes_trio.tools.calls import ToolCall, ToolResult

logger = get_logger(__name__)

_ARCHIVE: Final = ".task-base"
"""Where an archive lies while it is unpacked. By ``tar``, which knows more kinds than any library here."""
_UNPACK: Final = f"tar -xf {_ARCHIVE} && rm {_ARCHIVE}"
_ATTEMPTS: Final = 3
"""Of building a base that is gone each time it is to be used: the daemon has too little room for it."""


@runtime_checkable
class BaseExecutor(Protocol):
    """What building a base needs of an executor; :class:`hermes_trio.executor.executor.Executor` is one."""

    def daemon_of(self, trajectory_id: str) -> str | None:
        """Where a trajectory is."""
        ...

    async def execute(
        self, trajectory_id: str, call: ToolCall, *, limit_s: float | None = None
    ) -> ToolResult:
        """Run a call. Cancellation: *abandons*."""
        ...

    async def upload(self, trajectory_id: str, local_path: str, path: str) -> Transfer:
        """Send a file or a folder. Cancellation: *abandons*."""
        ...

    async def build_base(self, trajectory_id: str) -> BaseId:
        """Make a base of the workspace. Cancellation: *abandons*."""
        ...

    async def use_base(self, trajectory_id: str, base: BaseId) -> None:
        """Begin with a base. Cancellation: *abandons*."""
        ...


class BaseFailedError(HermesTrioError):
    """A trajectory cannot begin with its task's base.

    Attributes:
        provenance: who is to blame: the task, or what it stands on.
    """

    def __init__(self, text: str, provenance: Provenance) -> None:
        super().__init__(text)
        self.provenance = provenance


@define(eq=False)
class _Built:
    """A base on one daemon, or one that is to become it."""

    ended: trio.Event = field(factory=trio.Event)
    name: BaseId | None = None
    failure: BaseFailedError | None = None
    """The task's own: nobody need try again."""


class TaskBases:
    """The bases of a run.

    Args:
        executor: where they are built.
    """

    def __init__(self, executor: object) -> None:
        self._executor = executor
        self._built: dict[tuple[str, TaskBase], _Built] = {}

    def __repr__(self) -> str:
        return f"<TaskBases {len(self._built)} built>"

    async def begin(self, trajectory_id: str, base: TaskBase) -> None:
        """Begin a trajectory that has a slot with a base, built if need be.

        Cancellation: *abandons*; whoever waits for what was being built here builds it instead.

        Raises:
            BaseFailedError: it cannot be.
        """
        executor = self._executor
        if not isinstance(executor, BaseExecutor):
            await trio.lowlevel.checkpoint()
            raise BaseFailedError("this executor has no bases", Provenance.UNAVAILABLE)
        try:
            await self._begin(executor, trajectory_id, base)
        except BaseFailedError:
            raise
        except HermesTrioError as error:
            raise BaseFailedError(f"base: {error}", provenance_of(error)) from error

    async def _begin(self, executor: BaseExecutor, trajectory_id: str, base: TaskBase) -> None:
        for _ in range(_ATTEMPTS):
            built = await self._on_daemon(executor, trajectory_id, base)
            assert built.name is not None
            try:
                await executor.use_base(trajectory_id, built.name)
            except NoBaseError as error:
                self._forget(built)
                logger.info("a base is gone, and built again", trajectory=trajectory_id, reason=error)
                await trio.lowlevel.checkpoint()
            else:
                return
        raise UnavailableError("it was gone each time it had been built.", mend="Use fewer at once.")

    async def _on_daemon(self, executor: BaseExecutor, trajectory_id: str, base: TaskBase) -> _Built:
        """What there is of it on the trajectory's daemon, built by us or by whoever was first."""
        while True:
            key = executor.daemon_of(trajectory_id) or "", base
            built = self._built.get(key)
            if built is None:
                built = self._built[key] = _Built()
                await self._build(executor, trajectory_id, base, built)
            await built.ended.wait()
            if built.failure is not None:
                raise BaseFailedError(str(built.failure), built.failure.provenance)
            if built.name is not None:
                return built

    async def _build(self, executor: BaseExecutor, trajectory_id: str, base: TaskBase, built: _Built) -> None:
        """Builds it. A failure that is the task's stays: it would come again, and take as long."""
        try:
            built.name = await _build(executor, trajectory_id, base)
        except BaseFailedError as error:
            if error.provenance.is_infrastructure:
                raise
            built.failure = error
            await trio.lowlevel.checkpoint()
        finally:
            if built.name is None and built.failure is None:
                self._forget(built)
            built.ended.set()

    def _forget(self, built: _Built) -> None:
        self._built = {key: each for key, each in self._built.items() if each is not built}


async def _build(executor: BaseExecutor, trajectory_id: str, base: TaskBase) -> BaseId:
    if base.directory is not None:
        await _upload(executor, trajectory_id, base.directory, ".")
    if base.archive is not None:
        await _upload(executor, trajectory_id, base.archive, _ARCHIVE)
        await _run(executor, trajectory_id, _UNPACK, "base.archive", base.limit_s)
    for number, command in enumerate(base.setup, start=1):
        await _run(executor, trajectory_id, command, f"base.setup, command {number}", base.limit_s)
    return await executor.build_base(trajectory_id)


async def _upload(executor: BaseExecutor, trajectory_id: str, local_path: str, path: str) -> None:
    transfer = await executor.upload(trajectory_id, local_path, path)
    if not transfer.success:
        provenance = transfer.provenance
        raise BaseFailedError(f"base: {local_path}: {transfer.error or provenance.value}", provenance)
    for name, why in transfer.skipped.items():
        raise BaseFailedError(f"base: {local_path}: {name[:120]!r}: {why}", Provenance.TOOL_ERROR)


async def _run(executor: BaseExecutor, trajectory_id: str, command: str, what: str, limit_s: float) -> None:
    call = ToolCall(name="bash", arguments={"command": command})
    result = await executor.execute(trajectory_id, call, limit_s=limit_s)
    if result.provenance is not Provenance.OK:
        last = result.output.strip().rpartition("\n")[2]
        told = f"{what}: {result.error or result.provenance.value}" + (f" ({last[:200]})" if last else "")
        raise BaseFailedError(told, result.provenance)
