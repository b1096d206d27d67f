"""The executor: where a tool call walks in, and where its result comes out."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import chain
from typing import Any

import trio
from attrs import evolve, frozen

from hermes_trio.backends.base import Backend
from hermes_trio.errors import ClosedError, Provenance, UnavailableError
from hermes_trio.executor.archives import ArchiveMethods
from hermes_trio.executor.config import ExecutorConfig
from hermes_trio.executor.fleet_config import fleet_config
from hermes_trio.executor.jobs import JobMethods
from hermes_trio.executor.options import CallOptions
from hermes_trio.executor.plan import Plan, Refuse, RunHandler, RunInSlot, plan_call
from hermes_trio.executor.quiet import QuietSlot, refused
from hermes_trio.executor.results import (
    cancelled_here,
    check_quiesced,
    result_of,
    result_of_failure,
    status_report,
)
from hermes_trio.executor.stream import Sent, ToolStream
from hermes_trio.executor.streamed_files import StreamedFileMethods
from hermes_trio.executor.terminal_book import LiveTerminal, TerminalBook
from hermes_trio.executor.terminals import TerminalMethods
from hermes_trio.executor.watch import CallWatch, LiveCall
from hermes_trio.fleet.calls import CallRecord
from hermes_trio.fleet.fleet import Fleet, open_fleet
from hermes_trio.link.pump import PumpStatistics
from hermes_trio.slots.pool import SlotPool
from hermes_trio.slots.table import SlotTableStatistics
from hermes_trio.telemetry import traces
from hermes_trio.telemetry.bus import DEFAULT_MAX_EVENTS, EventBus, Subscription
from hermes_trio.telemetry.events import Snapshot
from hermes_trio.telemetry.histogram import HistogramSnapshot, LogHistogram
from hermes_trio.telemetry.log import bound
from hermes_trio.tools.background import with_background
from hermes_trio.tools.calls import ToolCall, ToolResult
from hermes_trio.tools.registry import ToolRegistry, default_registry
from hermes_trio.tools.run import bounded, run_handler
from hermes_trio.tools.tool import ToolContext
from hermes_trio.tools.tool_server.client import ToolServerClient
from hermes_trio.wire.operations import Operation, SlotStatusReport


@frozen(kw_only=True)
class ExecutorStatistics:
    """What an executor has done and holds. Constant in size, however long it runs."""

    total_requests: int
    """Calls answered, however they ended."""
    total_errors: int
    """Calls whose result was not a success."""
    by_provenance: Mapping[Provenance, int]
    in_flight: int
    """Calls whose callers are waiting now."""
    latency: HistogramSnapshot
    """Seconds from entering :meth:`Executor.execute` to leaving it, of answered calls."""
    queue: HistogramSnapshot
    """Seconds of it before the call was put on the wire: waiting for a slot and for the link."""
    slots: SlotTableStatistics
    links: Mapping[str, PumpStatistics]
    reconnects: int
    """Links that went on with a session where the link before had been lost; callers saw a latency."""
    sessions_lost: int
    """Sessions that ended although nobody had said goodbye; their calls ended as lost."""


_STREAMING = frozenset({Operation.BASH, Operation.BASH_STATEFUL})


class Executor(ArchiveMethods, StreamedFileMethods, TerminalMethods, JobMethods):
    """Runs tool calls. Made by :func:`open_executor`.

    Any number of tasks may call it at once. Calls of one trajectory run one after another, in the order in
    which :meth:`execute` was entered; calls of different trajectories do not wait for each other.
    """

    def __init__(
        self,
        *,
        registry: ToolRegistry,
        config: ExecutorConfig,
        pool: SlotPool,
        fleet: Fleet,
        bus: EventBus,
    ) -> None:
        self.bus = bus
        """Where everything that happens below this executor is told."""
        self._registry = registry
        self._config = config
        self._pool = pool
        self._fleet = fleet
        self._closed = False
        self._tool_server = (
            ToolServerClient(config.tool_server_url, token=config.tool_server_token)
            if config.tool_server_url
            else None
        )
        self._watch = CallWatch(bus, daemon_of=pool.daemon)
        self._terminals = TerminalBook()
        self._by_provenance = dict.fromkeys(Provenance, 0)
        self._total_errors = 0
        self._quiet: dict[str, set[QuietSlot]] = {}  # trajectories whose calls are refused, and for whom
        self._latency = LogHistogram()
        self._queue = LogHistogram()

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open"
        return f"<Executor {state}, {len(self._watch)} calls in flight, {self._pool!r}, {self._fleet!r}>"

    @property
    def registry(self) -> ToolRegistry:
        """The tools this executor knows."""
        return self._registry

    @property
    def config(self) -> ExecutorConfig:
        """The settings it was opened with."""
        return self._config

    async def execute(
        self,
        trajectory_id: str,
        call: ToolCall,
        *,
        limit_s: float | None = None,
        options: CallOptions | None = None,
    ) -> ToolResult:
        """Run one tool call in its trajectory's slot and return how it ended.

        The first call of a trajectory waits for a slot, which the trajectory then keeps until
        :meth:`release`. Failure is a value: whatever the tool, the sandbox or the network does comes back
        as a result whose ``provenance`` says who failed. Nothing that may have started is run again.

        Cancellation: abandons. A call that was not sent yet is taken back; one that was is ended at the
        daemon, and this returns only after its whole process tree is gone (shielded, at most
        ``config.kill_grace_s``; past that the slot is quarantined).

        Args:
            trajectory_id: whose call it is.
            call: what to run.
            limit_s: seconds it may run, clamped to 1..600; queues are not charged. ``None``: the call's own
                ``timeout`` argument, else ``config.default_limit_s``.
            options: how a command is to be run; ``None``: the defaults.

        Raises:
            ClosedError: the executor was closed.
        """
        self._check_open()
        if trajectory_id in self._quiet:
            return await self._run(trajectory_id, call, Refuse(result=refused(call, trajectory_id)))
        return await self._execute(trajectory_id, call, limit_s=limit_s, options=options)

    def stream(self, trajectory_id: str, call: ToolCall, *, limit_s: float | None = None) -> ToolStream:
        """Run one tool call and have its output as it is printed: an async iterator of chunks.

        Its last item is the result, the same that :meth:`execute` returns. A consumer that stops reading
        stops its own command, which waits on its full pipe (and within its limit), and nothing else. A tool
        that prints nothing on the way, ``read_file`` for instance, has its result as the only item.

        The call is sent when the first item is asked for. Leaving the iterator early ends the call; see
        :meth:`ToolStream.__anext__` and :meth:`ToolStream.aclose`.

        Args:
            trajectory_id: as in :meth:`execute`.
            call: as there.
            limit_s: as there.
        """
        return ToolStream(self, trajectory_id, call, limit_s)

    async def _execute(
        self,
        trajectory_id: str,
        call: ToolCall,
        *,
        limit_s: float | None = None,
        options: CallOptions | None = None,
    ) -> ToolResult:
        self._check_open()
        plan = plan_call(call, registry=self._registry, config=self._config, limit_s=limit_s, options=options)
        return await self._run(trajectory_id, call, plan)

    async def _run(self, trajectory_id: str, call: ToolCall, plan: Plan) -> ToolResult:
        result = None
        live = self._watch.begin(trajectory_id, call, plan)
        try:
            with (
                traces.use(live.span),
                bound(trajectory=trajectory_id, call=live.number),
                trio.CancelScope() as live.scope,
            ):
                result = await self._carry_out(live, plan)
            if result is None:  # see `cancel_call`
                result = cancelled_here(call)
        finally:
            self._watch.end(live, result)
        return self._counted(result, trio.current_time() - live.entered)

    async def release(self, trajectory_id: str, *, reset_workspace: bool = True) -> None:
        """Give a trajectory's slot back. Idempotent; what still runs there is ended.

        Cancellation: abandons; the release itself goes on.

        Args:
            trajectory_id: whose slot; one that holds none is fine.
            reset_workspace: wipe the slot before another trajectory gets it. ``False`` leaves it as it is for
                this executor's next trajectory; somebody else's gets it wiped all the same.
        """
        self._quiet.pop(trajectory_id, None)
        self._terminals.forget(trajectory_id)
        await self._pool.release(trajectory_id, reset=reset_workspace)

    async def quiesce(self, trajectory_id: str) -> QuietSlot:
        """Wait until nothing runs in the trajectory's slot any more, and let nothing new begin there.

        From the moment of asking, calls of the trajectory are answered ``denied``; those that were there
        before end first. What runs then is only what is run through the returned object: verifiers stand on
        this. :meth:`release` ends it, and so does :meth:`QuietSlot.reopen`.

        Cancellation: abandons; the trajectory's calls are taken again.

        Args:
            trajectory_id: whose slot; one that holds none is quiet already.

        Returns:
            The way in for the verifier.

        Raises:
            LostError: the slot is gone, and the workspace with it.
            SlotStateError: the trajectory was released meanwhile.
            UnavailableError: the daemon could not do it.
        """
        self._check_open()
        quiet = QuietSlot(trajectory_id, execute=self._execute, reopen=self._reopen)
        self._quiet.setdefault(trajectory_id, set()).add(quiet)
        try:
            quiet.jobs_killed = await self._wait_quiet(trajectory_id)
        except BaseException:
            quiet.reopen()
            raise
        return quiet

    async def _wait_quiet(self, trajectory_id: str) -> int:
        if self._pool.is_idle(trajectory_id):
            await trio.lowlevel.checkpoint()
            return 0
        record = CallRecord(operation=Operation.SLOT_QUIESCE, arguments={}, trajectory_id=trajectory_id)
        self._pool.submit(record)
        await self._answered(record)
        return check_quiesced(record.unwrap())

    # --- files: the road for `FileMethods` ----------------------------------------------------------------

    @property
    def default_limit_s(self) -> float:
        """Seconds a call may run when nobody says so."""
        return self._config.default_limit_s

    def holds_slot(self, trajectory_id: str) -> bool:
        """Whether the trajectory has its slot now: its calls wait for no place any more."""
        return self._pool.lease(trajectory_id) is not None

    def has_slot(self, trajectory_id: str) -> bool:
        """Whether the trajectory has a slot, or is about to get one."""
        self._check_open()
        return not self._pool.is_idle(trajectory_id)

    async def operate(self, record: CallRecord) -> None:
        """For :class:`FileMethods`: send a call to its trajectory's slot, and wait for its end.

        Cancellation: abandons.
        """
        self._check_open()
        self._pool.submit(record)
        await self._answered(record)
        self._note_terminal(record)

    def refusal(self, trajectory_id: str) -> str:
        """Why a trajectory's calls are refused now; empty when they are not."""
        self._check_open()
        return refused(ToolCall("tmux", {}), trajectory_id).error if trajectory_id in self._quiet else ""

    def _note_terminal(self, record: CallRecord) -> None:
        self._terminals.note(record.trajectory_id, record.operation, record.arguments, record.result)

    def _reopen(self, quiet: QuietSlot) -> None:
        others = self._quiet.get(quiet.trajectory_id, set())
        others.discard(quiet)
        if not others:
            self._quiet.pop(quiet.trajectory_id, None)

    def statistics(self) -> ExecutorStatistics:
        """A snapshot."""
        return ExecutorStatistics(
            total_requests=self._latency.count,
            total_errors=self._total_errors,
            by_provenance={who: count for who, count in self._by_provenance.items() if count},
            in_flight=len(self._watch),
            latency=self._latency.snapshot(),
            queue=self._queue.snapshot(),
            slots=self._pool.statistics(),
            links={connection.name: connection.statistics() for connection in self._fleet.connections},
            reconnects=self._fleet.reconnects,
            sessions_lost=self._fleet.sessions_lost,
        )

    def events(
        self,
        name: str = "listener",
        *,
        max_events: int = DEFAULT_MAX_EVENTS,
        kinds: Collection[type] | None = None,
    ) -> AbstractAsyncContextManager[Subscription]:
        """Listen to what happens: ``async with executor.events() as events: async for event in events``.

        Take a :meth:`snapshot` inside the block, apply it, and then each event of a higher number: that is
        the present state at every moment. A listener that is too slow loses its oldest events, which are
        counted; it never slows anybody down.

        Args:
            name: for statistics.
            max_events: events that may wait.
            kinds: classes of :mod:`hermes_trio.telemetry.events`; ``None``: all.
        """
        return self.bus.subscribe(name, max_events=max_events, kinds=kinds)

    def snapshot(self) -> Snapshot:
        """The present state of everything below this executor, as the events that make it."""
        return self.bus.snapshot(chain(self._fleet.present(), self._pool.present(), self._watch.present()))

    # --- for whoever watches and steers ---------------------------------------------------------------

    def live_calls(self) -> tuple[LiveCall, ...]:
        """The calls that are under way, oldest first."""
        return self._watch.calls()

    def live_terminals(self) -> tuple[LiveTerminal, ...]:
        """The terminals that were started in slots and not stopped, oldest first."""
        return self._terminals.alive(self.holds_slot)

    def tap_wire(self, tap: Callable[[str, bool, bytes], None] | None) -> None:
        """Show somebody each message of each link to a daemon; see :meth:`Fleet.set_tap`."""
        self._fleet.set_tap(tap)

    async def slot_processes(self, trajectory_id: str) -> SlotStatusReport:
        """What runs in a trajectory's slot now, as its daemon's host numbers it. Waits for no call there.

        Cancellation: abandons.

        Raises:
            UnavailableError: it has no slot now, or the daemon could not tell.
        """
        await trio.lowlevel.checkpoint()
        if self._pool.lease(trajectory_id) is None:
            raise UnavailableError(f"trajectory {trajectory_id} has no slot now")
        record = CallRecord(operation=Operation.SLOT_STATUS, arguments={}, trajectory_id=trajectory_id)
        self._pool.submit(record)
        await self._answered(record)
        return status_report(record.unwrap())

    def cancel_call(self, number: int) -> bool:
        """End one call as if its caller had left; its caller is answered ``cancelled``.

        Whoever waits for it goes on when everything that it started is gone.

        Args:
            number: the call's, as events tell it.

        Returns:
            False: there is no such call under way.
        """
        live = self._watch.find(number)
        if live is None:
            return False
        if live.scope is not None:
            live.scope.cancel()
        elif live.record is not None and not self._pool.abandon(live.record):  # a stream: it reads on
            live.record.fail(UnavailableError("the call was cancelled before it was sent"))
        return True

    async def cancel_trajectory(self, trajectory_id: str) -> None:
        """End a trajectory's calls, and give its slot back, wiped.

        Cancellation: abandons; the release itself goes on.

        Args:
            trajectory_id: one that holds nothing is fine.
        """
        for live in self._watch.calls():
            if live.trajectory_id == trajectory_id:
                self.cancel_call(live.number)
        await self.release(trajectory_id, reset_workspace=True)

    def drain_daemon(self, name: str) -> bool:
        """Give a daemon no new trajectories; those that have slots there keep them.

        Args:
            name: its endpoint's.

        Returns:
            False: it is not up.
        """
        found = [each for each in self._fleet.connections if each.name == name]
        for connection in found:
            connection.drain()
        return bool(found)

    async def _carry_out(self, live: LiveCall, plan: Plan) -> ToolResult:
        """Nothing is awaited before a slot's call is submitted: that keeps them in order."""
        if isinstance(plan, Refuse):
            await trio.lowlevel.checkpoint()
            return plan.result
        if isinstance(plan, RunInSlot):
            sent = self._submit(live, plan)
            await self._answered(sent.record)
            self._note_terminal(sent.record)
            return self._result(sent)
        context = self._context(live.trajectory_id, live.call, plan.limit_s)
        if isinstance(plan, RunHandler):
            return await run_handler(plan.tool, live.call, context)
        assert self._tool_server is not None
        result = await self._tool_server.run(evolve(live.call, name=plan.tool.runs_as), context)
        return bounded(result, plan.tool.max_output_chars)

    def _context(self, trajectory_id: str, call: ToolCall, limit_s: float) -> ToolContext:
        lease, daemon = self._pool.lease(trajectory_id), self._pool.daemon(trajectory_id)
        return ToolContext(
            trajectory_id=trajectory_id,
            limit_s=limit_s,
            slot_id=lease.slot if lease else None,
            container_addr=self._fleet.address(daemon) if daemon else None,
            user_task=call.user_task,
        )

    # --- the steps of a call that runs in a slot; `ToolStream` walks them too -----------------------------

    def submit_streamed(
        self, trajectory_id: str, call: ToolCall, limit_s: float | None, **streaming: Any
    ) -> Sent | None:
        """For :class:`ToolStream`: send the call; ``None``: it has no output on the way."""
        self._check_open()
        plan = plan_call(call, registry=self._registry, config=self._config, limit_s=limit_s)
        streams = isinstance(plan, RunInSlot) and plan.operation in _STREAMING
        if not streams or trajectory_id in self._quiet:
            return None
        assert isinstance(plan, RunInSlot)
        return self._submit(self._watch.begin(trajectory_id, call, plan), plan, **streaming)

    def settle(self, sent: Sent) -> ToolResult:
        """For :class:`ToolStream`: the result of a call that has ended."""
        result = self._result(sent)
        self._watch.end(sent.live, result)
        return self._counted(result, trio.current_time() - sent.live.entered)

    def grant(self, record: CallRecord, limit_bytes: int) -> None:
        """For :class:`ToolStream`: welcome output up to this byte."""
        self._pool.grant(record, limit_bytes)

    def abandon(self, sent: Sent) -> bool:
        """For :class:`ToolStream`: end a call that nobody waits for. True: its end is still to come."""
        self._watch.end(sent.live, None)
        return not sent.record.ended and self._pool.abandon(sent.record)

    async def leave(self, sent: Sent) -> None:
        """For :class:`ToolStream`: end a call, and wait until it is dead.

        Cancellation: shielded, at most ``config.kill_grace_s`` s; past that the slot is quarantined.
        """
        if self.abandon(sent):
            with trio.CancelScope(shield=True, deadline=self._grace_end()):
                await sent.record.wait_ended()
            self._condemn_living(sent.record)
        await trio.lowlevel.cancel_shielded_checkpoint()

    def _submit(self, live: LiveCall, plan: RunInSlot, **streaming: Any) -> Sent:
        record = live.record = CallRecord(
            operation=plan.operation,
            arguments=plan.arguments,
            trajectory_id=live.trajectory_id,
            limit_s=plan.limit_s,
            payload=plan.payload,
            event_id=live.number,
            traceparent=traces.traceparent_of(live.span),
            **streaming,
        )
        self._pool.submit(record)
        return Sent(live, plan, record)

    def _result(self, sent: Sent) -> ToolResult:
        record, plan, call = sent.record, sent.plan, sent.live.call
        # Not raised: its traceback would keep a frame, and with it the record.
        if record.error is not None:
            return result_of_failure(call, record.error)
        if record.sent_at is not None:
            self._queue.record(record.sent_at - sent.live.entered)
        result = result_of(
            call,
            plan.operation,
            record.unwrap(),
            arguments=plan.arguments,
            mechanisms=record.mechanisms,
        )
        return bounded(result, plan.tool.max_output_chars)

    async def _answered(self, record: CallRecord) -> None:
        """Wait for the end of a submitted call; leaving early ends the call first.

        A call that could not be shown dead within the grace costs its trajectory the slot.
        """
        try:
            await record.wait_ended()
        finally:
            if not record.ended and self._pool.abandon(record):
                with trio.CancelScope(shield=True, deadline=self._grace_end()):
                    await record.wait_ended()
                self._condemn_living(record)

    def _grace_end(self) -> float:
        return trio.current_time() + self._config.kill_grace_s

    def _condemn_living(self, record: CallRecord) -> None:
        if not record.ended:
            self._pool.condemn(record)

    def _counted(self, result: ToolResult, latency_s: float) -> ToolResult:
        self._by_provenance[result.provenance] += 1
        self._total_errors += not result.success
        self._latency.record(latency_s)
        return result

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError("ToolExecutor not started (call start() first)")

    async def _aclose(self) -> None:
        self._closed = True
        with trio.move_on_after(self._config.close_grace_s):
            await self._pool.release_all()
        if self._tool_server is not None:
            await self._tool_server.aclose()


@asynccontextmanager
async def open_executor(
    backend: Backend,
    *,
    config: ExecutorConfig | None = None,
    tools: ToolRegistry | None = None,
    chance: Callable[[], float] = random.random,
) -> AsyncIterator[Executor]:
    """Open an executor on a backend's daemons; the one way to get one.

    On the way out, whatever the reason: calls that still run are ended, every slot is given back wiped,
    the daemons are told goodbye, and only then the links are closed.

    Cancellation: shielded, at most ``close_grace_s`` + 3 s (1 s for a ToolServer, 2 s for the farewell).

    Args:
        backend: where the daemons are.
        config: settings; ``None``: the defaults.
        tools: the tools that exist; ``None``: the default toolset. With ``config.allow_background``, the
            executor's ``registry`` has the tool ``job`` beside them.
        chance: draws from [0, 1), for the jitter of reconnecting; seeded, a simulation can be replayed.

    Raises:
        UnavailableError: a daemon refuses us, or none can be reached.
    """
    config = config or ExecutorConfig()
    bus = EventBus()
    pool = SlotPool(bus)
    async with open_fleet(
        backend, listener=pool, config=evolve(fleet_config(config), chance=chance), bus=bus
    ) as fleet:
        registry = default_registry() if tools is None else tools
        if config.allow_background:
            registry = with_background(registry)
        executor = Executor(registry=registry, config=config, pool=pool, fleet=fleet, bus=bus)
        try:
            yield executor
        finally:
            deadline = trio.current_time() + config.close_grace_s + 1.0
            with trio.CancelScope(shield=True, deadline=deadline):
                await executor._aclose()
