"""Everything a pool stands on: data directory, uids, agent code, one cell per slot, and the trash."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

import trio
from attrs import define, evolve, field

from hermes_trio.errors import UnavailableError
from hermes_trio.telemetry.log import get_logger
from hermes_trio.wire.frames import SlotId
from sandbox_daemon.agent.bundle import compile_agent, compile_worker
from sandbox_daemon.isolation.cgroup_tree import Groups, open_groups
from sandbox_daemon.isolation.cgroups import SlotGroup
from sandbox_daemon.isolation.etc import write_etc
from sandbox_daemon.isolation.findings import Setting
from sandbox_daemon.isolation.host import read_layout, untraversable
from sandbox_daemon.isolation.idmaps import open_idmaps
from sandbox_daemon.isolation.levels import Isolation, Level
from sandbox_daemon.isolation.policy import Launch, SlotLimits, bounds
from sandbox_daemon.isolation.uids import reserve_uids
from sandbox_daemon.process.running import memory_file
from sandbox_daemon.slots.cell import Cell
from sandbox_daemon.slots.storage import DataDirectory, hold_data_directory

if TYPE_CHECKING:
    from sandbox_daemon.slots.pool import SlotPoolConfig

logger = get_logger(__name__)

_CONCURRENT_STARTS: Final = 8
_MAX_TRASH: Final = 256
_CLEAR_LIMIT_S: Final = 8.0


@define(eq=False, kw_only=True)
class Site:
    """What a pool stands on. Made by :func:`open_site`."""

    storage: DataDirectory
    setting: Setting
    uids: frozenset[int]
    _launches: Mapping[SlotId, Launch]
    _groups: Mapping[SlotId, SlotGroup]
    _code_fd: int
    _worker_fd: int
    _thrown_away: trio.Event = field(factory=trio.Event)
    _emptying: trio.Lock = field(factory=trio.Lock)

    @property
    def trash_count(self) -> int:
        """Trees that wait to be deleted."""
        return self.storage.trash_count()

    def cells(self, nursery: trio.Nursery) -> dict[SlotId, Cell]:
        """One cell per slot; their links are served in ``nursery``."""
        starts = trio.CapacityLimiter(_CONCURRENT_STARTS)
        return {
            slot: Cell(
                nursery=nursery,
                slot=slot,
                template=launch,
                storage=self.storage,
                group=self._groups[slot],
                code_fd=self._code_fd,
                worker_fd=self._worker_fd,
                starts=starts,
            )
            for slot, launch in self._launches.items()
        }

    def sweep_trash(self) -> None:
        """Something was thrown away."""
        self._thrown_away.set()

    async def bound_trash(self) -> None:
        """Waits while too much is waiting to be deleted: resets must not outrun the disk.

        Cancellation: abandons.
        """
        if self.trash_count > _MAX_TRASH:
            await self._empty()
        else:
            await trio.lowlevel.checkpoint()

    async def run_trash(self) -> None:
        """Deletes what is thrown away, off the path of the slots.

        Cancellation: abandons; a deletion under way goes on in its thread.
        """
        while True:
            await self._empty()
            await self._thrown_away.wait()
            self._thrown_away = trio.Event()

    async def _empty(self) -> None:
        async with self._emptying:
            await self._empty_once()

    async def _empty_once(self) -> None:
        try:
            await trio.to_thread.run_sync(self.storage.empty_trash, abandon_on_cancel=True)
        except OSError as error:
            logger.error("the trash could not be emptied", path=self.storage.root, reason=error)
            await trio.lowlevel.checkpoint()

    async def clear(self) -> None:
        """Removes the workspaces. What takes longer is left to the next daemon.

        Cancellation: shielded, at most 8 s.
        """
        await trio.lowlevel.cancel_shielded_checkpoint()
        with trio.CancelScope(shield=True), trio.move_on_after(_CLEAR_LIMIT_S):
            self.storage.discard_leftovers()
            await self._empty()
            await trio.to_thread.run_sync(self.storage.close, abandon_on_cancel=True)


@contextlib.contextmanager
def open_site(config: SlotPoolConfig, isolation: Isolation) -> Iterator[Site]:
    """Takes hold of everything, and lets go of it at the end.

    Raises:
        UnavailableError: the data directory is held or cannot be reached, or the uids are taken.
    """
    with contextlib.ExitStack() as stack:
        storage = stack.enter_context(hold_data_directory(config.data_dir))
        uids: list[int | None] = [None] * config.slots
        if os.geteuid() == 0 and isolation.level is not Level.NONE:
            uids = list(stack.enter_context(reserve_uids(config.slots, base=config.uid_base)))
        code_fd = memory_file(compile_agent(isolation.interpreter))
        stack.callback(os.close, code_fd)
        worker_fd = memory_file(compile_worker(isolation.interpreter))
        stack.callback(os.close, worker_fd)
        launch = _template(config, isolation, storage)
        names = [SlotId(f"slot_{index}") for index in range(config.slots)]
        launches = {slot: launch(slot, uid) for slot, uid in zip(names, uids, strict=True)}
        if isolation.volumes and config.limits.disk_bytes:
            layered = isolation.layers
            storage.use_volumes(
                size_bytes=config.limits.disk_bytes, max_files=config.limits.max_files, idmapped=layered
            )
            if layered:
                launches = _mapped(stack, launches, isolation.interpreter)
        tree = stack.enter_context(open_groups(config.data_dir))
        groups = _slot_groups(stack, tree, config.limits, names)
        yield Site(
            storage=storage,
            setting=_setting(tree),
            uids=frozenset(uid for uid in uids if uid is not None),
            launches=launches,
            groups=groups,
            code_fd=code_fd,
            worker_fd=worker_fd,
        )


def _mapped(
    stack: contextlib.ExitStack, launches: Mapping[SlotId, Launch], interpreter: str
) -> dict[SlotId, Launch]:
    """The launches with their maps of owners."""
    uids = [launch.uid for launch in launches.values() if launch.uid is not None]
    maps = open_idmaps(uids, interpreter=interpreter)
    for descriptor in maps.values():
        stack.callback(os.close, descriptor)
    return {slot: evolve(launch, idmap=maps[launch.uid or 0]) for slot, launch in launches.items()}


def _setting(tree: Groups) -> Setting:
    return Setting(
        root=os.geteuid() == 0,
        grouped=tree.unified is not None,
        held=frozenset(tree.limited),
        reasons=tree.reasons,
    )


def _slot_groups(
    stack: contextlib.ExitStack, tree: Groups, limits: SlotLimits, names: Iterable[SlotId]
) -> dict[SlotId, SlotGroup]:
    groups = {}
    for name in names:
        try:
            groups[name] = tree.slot(name, bounds(limits))
        except OSError as error:
            raise UnavailableError(
                f"The control groups of {name} cannot be made: {error}.", mend="Run `hermes-trio doctor`."
            ) from error
        stack.callback(groups[name].close)
    return groups


def _template(
    config: SlotPoolConfig, isolation: Isolation, storage: DataDirectory
) -> Callable[[SlotId, int | None], Launch]:
    """A function from slot and uid to its launch."""
    root = isolation.level is not Level.NONE and os.geteuid() == 0
    private = untraversable(storage.root) if root else None
    if private is not None and isolation.level is Level.UID:
        raise UnavailableError(
            f"The data directory {storage.root} lies below {private}, which the slots' uids cannot pass.",
            mend="Choose one below a directory that everybody may enter, for instance /var/lib.",
        )
    binds = write_etc(storage.etc) if isolation.level is Level.NS else ()
    layout = read_layout()

    def launch(slot: SlotId, uid: int | None) -> Launch:
        return Launch(
            level=isolation.level,
            workspace=str(storage.workspace(slot)),
            etc=str(storage.etc),
            etc_binds=binds,
            layout=layout,
            interpreter=isolation.interpreter,
            bwrap=isolation.bwrap,
            uid=uid,
            seccomp=isolation.seccomp and isolation.level is not Level.NONE,
            limits=config.limits,
            private=private is not None,
        )

    return launch
