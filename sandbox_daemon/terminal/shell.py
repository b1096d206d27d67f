"""The stateful shell of a slot: one bash that keeps directory, variables, functions and jobs between calls.

The agent only starts it. A command is then a memory file that is written, a line on the driver's pipe, and an
answer on the status pipe; see ``driver.py``. Output goes through one of a few pairs of pipes. A pair that
something in the background still holds when its command is over is not given to the next command: what comes
out of it belongs to the session.
"""

from __future__ import annotations

import os
import time
from functools import partial
from typing import Final

import trio
from attrs import field, frozen

from sandbox_daemon.agent import protocol
from sandbox_daemon.isolation.cgroups import SlotGroup
from sandbox_daemon.process.command import CommandSpec, Ending, Exit, Ran
from sandbox_daemon.process.link import AgentLink
from sandbox_daemon.process.outcome import AgentLostError
from sandbox_daemon.process.output import BoundedCapture, Order
from sandbox_daemon.terminal import driver
from sandbox_daemon.terminal.session import Session, close_all, start_session

SIGINT: Final = 2
SIGKILL: Final = 9
START_LIMIT_S: Final = 5.0
INTERRUPT_GRACE_S: Final = 0.25
RETURN_LIMIT_S: Final = 0.75
_ROUND_S: Final = 0.1
_HOLDERS_LIMIT_S: Final = 0.5
BACKGROUND_KEPT_BYTES: Final = 8 * 1024
_FINAL_DRAIN_BYTES: Final = 4 * 1024 * 1024
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")

_chunk = bytearray(64 * 1024)
_view = memoryview(_chunk)


@frozen(kw_only=True)
class ShellRan:
    """How a command in the shell went.

    Args:
        ran: as for any command. ``report`` is the status of the command, or of the shell when that ended.
        cwd: the shell's directory afterwards; empty when it is gone.
        exited: the shell itself ended, by its own doing.
        lost: the shell had to be ended.
        background: the last of what came from the background since the call before.
        background_bytes: how much that was in all.
    """

    ran: Ran
    cwd: bytes = b""
    exited: bool = False
    lost: bool = False
    background: bytes = field(default=b"", repr=False)
    background_bytes: int = 0


class _Current:
    """The command under way: its output, and what a supervisor must act on."""

    def __init__(self, spec: CommandSpec, number: int, pair: int) -> None:
        self.spec = spec
        self.number = number
        self.pair = pair
        self.captures = (
            BoundedCapture(spec.max_output_bytes, hashed=spec.hashed),
            BoundedCapture(spec.max_output_bytes, hashed=spec.hashed),
        )
        self.order = Order()
        self.answer: driver.Answer | None = None
        self.noticed = trio.Event()
        self.overflowed = False

    def take(self, stream: int, data: memoryview) -> bool:
        """A piece of output. False: the reader of it wants no more for now."""
        self.captures[stream].feed(data)
        self.order.note(stream + 1, len(data))
        if sum(capture.total for capture in self.captures) > self.spec.max_drained_bytes:
            self.overflowed = True
            self.noticed.set()
        return self.spec.sink is None or self.spec.sink.feed(stream + 1, data)


class StatefulShell:
    """One shell. Made by :func:`start_shell`; it is over when ``session.over`` is set.

    Calls must not overlap: whoever runs one has the slot's turn.
    """

    def __init__(self, session: Session, *, command: int, line: int, status: int, outputs: list[int]) -> None:
        self.session = session
        self._link = session.link
        self._command = command
        self._line = line
        self._status = status
        self._outputs = outputs
        self._parser = driver.AnswerParser()
        self._number = 0
        self._last_status = 0
        self._held = 0
        self._current: _Current | None = None
        self._background = BoundedCapture(2 * BACKGROUND_KEPT_BYTES)
        self._answered = trio.Event()
        self._answers: dict[int, driver.Answer] = {}
        self._mute = True  # until it is set up: a shell without a terminal complains of it
        self._paused = False
        session.on_end = self._ended
        self._link.watch(status, self._hear)
        self._watch_outputs()

    def __repr__(self) -> str:
        state = "over" if self.is_over else "busy" if self._current else "idle"
        return f"<StatefulShell {state}, {self._number} lines, {self.session!r}>"

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.session.over.is_set()

    # --- one command --------------------------------------------------------------------------------------

    async def run(self, spec: CommandSpec, *, limit_s: float) -> ShellRan:
        """Runs one command in the shell.

        Cancellation: shielded, at most 1.75 s: what the command started in the foreground is killed, and the
        shell with it if it does not come back.

        Raises:
            AgentLostError: the agent is gone.
        """
        began, since = trio.current_time(), _now_ticks()
        pair = self._free_pair()
        background = self._take_background()
        cpu_us = self.session.cpu_us()
        current = self._begin(spec, pair)
        try:
            ending = await self._wait(current, limit_s, since)
            lost = False
            if ending is not Ending.EXITED:
                with trio.CancelScope(shield=True):
                    lost = not await self._stop(since, soft=ending is Ending.LIMIT)
            if self.is_over or self.session.is_alone():
                self._held = 0
            else:
                await self._note_holders(pair)
            return self._result(current, ending, lost=lost, began=began, cpu_us=cpu_us, background=background)
        finally:
            self._current = None

    def _begin(self, spec: CommandSpec, pair: int) -> _Current:
        os.ftruncate(self._command, 0)
        view = memoryview(spec.command)
        while view:
            view = view[os.pwrite(self._command, view, len(spec.command) - len(view)) :]
        self._number += 1
        self._current = _Current(spec, self._number, pair)
        if spec.sink is not None:
            spec.sink.resume = self._resume
        self._say(driver.command_line(self._number, pair=pair, last_status=self._last_status))
        return self._current

    async def _wait(self, current: _Current, limit_s: float, since: int) -> Ending:
        try:
            with trio.move_on_after(limit_s):
                await current.noticed.wait()
                if current.answer is None and not current.overflowed:
                    await self.session.over.wait()  # it has let go of the status pipe: it is about to end
        except trio.Cancelled:
            with trio.CancelScope(shield=True):
                await self._stop(since, soft=False)
            raise
        if current.answer is not None or self.is_over:
            if self.is_over and self.session.report is None:
                return Ending.SANDBOX_LOST
            return Ending.EXITED
        return Ending.OUTPUT_LIMIT if current.overflowed else Ending.LIMIT

    async def _stop(self, since: int, *, soft: bool) -> bool:
        """Brings the shell back from its command. False: it did not come, and was ended.

        Cancellation: callers shield it; bounded, at most 1.5 s.
        """
        await trio.lowlevel.checkpoint()
        try:
            if soft and await self._back_within(INTERRUPT_GRACE_S, SIGINT, since):
                return True
            if await self._back_within(RETURN_LIMIT_S, SIGKILL, since):
                return True
        except AgentLostError:
            pass
        await self.session.end()
        return False

    async def _back_within(self, limit_s: float, number: int, since: int) -> bool:
        """Interrupts again and again: a loop starts its next child, a list goes on with its next command."""
        end = trio.current_time() + limit_s
        while not self.is_over and trio.current_time() < end:
            await self._interrupt(number, since)
            with trio.move_on_at(min(end, trio.current_time() + _ROUND_S)):
                await trio.lowlevel.checkpoint()
                self._number += 1
                self._say(driver.probe_line(self._number))
                while self._number not in self._answers and not self.is_over:
                    await self._answered.wait()
                break
        self._last_status = 0
        await trio.lowlevel.checkpoint()
        return self._number in self._answers

    async def _interrupt(self, number: int, since: int) -> None:
        """Returns when it was done: one that came late would hit the next command."""
        fixed = (self.session.call_id, number, since)
        with trio.move_on_after(_ROUND_S):
            (await self._link.ask(protocol.INTERRUPT, fixed)).drop()
            return
        raise AgentLostError("the agent does not answer")

    def _result(
        self,
        current: _Current,
        ending: Ending,
        *,
        lost: bool,
        began: float,
        cpu_us: int,
        background: tuple[bytes, int],
    ) -> ShellRan:
        self._drain(current)
        answer = current.answer
        report = self.session.report if answer is None else None
        exited = answer is None and ending is Ending.EXITED
        cwd = b""
        if answer is not None and not lost:
            self._last_status = answer.status
        latest = self._answers.get(self._number)
        if latest is not None and not self.is_over:
            cwd = latest.cwd
        status = (
            answer.status << 8 if answer is not None else report.status if isinstance(report, Exit) else 0
        )
        spent_us = max(0, self.session.cpu_us() - cpu_us)
        return ShellRan(
            ran=Ran(
                ending=ending,
                report=Exit(status=status, cpu_us=spent_us, peak_kib=0, swept=0, held=False),
                stdout=current.captures[0],
                stderr=current.captures[1],
                order=current.order,
                duration_s=trio.current_time() - began,
            ),
            cwd=cwd,
            exited=exited,
            lost=lost,
            background=background[0],
            background_bytes=background[1],
        )

    # --- what the shell says ------------------------------------------------------------------------------

    def _say(self, line: bytes) -> None:
        try:
            size = os.write(self._line, line)
        except OSError as error:
            raise AgentLostError(f"the shell does not listen: {error.strerror}") from error
        if size != len(line):
            raise AgentLostError("the shell does not listen")

    def _hear(self) -> None:
        """The status pipe has something to say, or has ended."""
        try:
            data = os.read(self._status, driver.MAX_ANSWER_BYTES)
            answers = self._parser.feed(data)
        except BlockingIOError:
            return
        except driver.BadAnswerError:
            data, answers = b"", []
        if not data:
            self._link.unwatch(self._status)
            self._notice()
            return
        for answer in answers:
            self._answers = {answer.number: answer}
            if self._current is not None and answer.number == self._current.number:
                self._current.answer = answer
                self._notice()
        self._answered.set()
        self._answered = trio.Event()

    def _notice(self) -> None:
        if self._current is not None:
            self._current.noticed.set()

    def _ended(self) -> None:
        self._notice()
        self._answered.set()
        self._answered = trio.Event()
        for pipe in list(self._outputs):
            self._link.unwatch(pipe)
        self._link.unwatch(self._status)

    async def wait_ready(self) -> bool:
        """Waits until it is set up. False: it did not come up.

        Cancellation: atomic; the session must be ended.
        """
        self._number += 1
        self._say(driver.set_up_line(self._number))
        with trio.move_on_after(START_LIMIT_S):
            await trio.lowlevel.checkpoint()
            while self._number not in self._answers and not self.is_over:
                await self._answered.wait()
        await trio.lowlevel.checkpoint()
        for pipe in self._outputs:
            while self._read(pipe):
                pass
        self._mute = False
        return self._number in self._answers and not self.is_over

    # --- output -------------------------------------------------------------------------------------------

    def _watch_outputs(self) -> None:
        for pipe in self._outputs:
            self._link.watch(pipe, partial(self._take, pipe))

    def _resume(self) -> None:
        if self._paused and not self.is_over:
            self._paused = False
            self._watch_outputs()

    def _read(self, pipe: int) -> int:
        try:
            return os.readv(pipe, [_chunk])
        except BlockingIOError:
            return 0

    def _take(self, pipe: int) -> bool:
        """One read. False: nothing there now."""
        size = self._read(pipe)
        if size == 0:
            if self.is_over:
                self._link.unwatch(pipe)
            return False
        pair, stream = divmod(self._outputs.index(pipe), 2)
        if self._mute:
            return True
        if self._current is None or self._current.pair != pair:
            self._background.feed(_view[:size])
        elif not self._current.take(stream, _view[:size]):
            self._paused = True
            for each in self._outputs:
                self._link.unwatch(each)
        return True

    def _drain(self, current: _Current) -> None:
        """What the command wrote before its end is there now."""
        for stream in (0, 1):
            end = current.captures[stream].total + _FINAL_DRAIN_BYTES
            while current.captures[stream].total < end and self._take(
                self._outputs[2 * current.pair + stream]
            ):
                pass
        if self._paused:
            self._resume()

    def _take_background(self) -> tuple[bytes, int]:
        for pipe in self._outputs:
            for _ in range(16):
                if not self._take(pipe):
                    break
        taken, self._background = self._background, BoundedCapture(2 * BACKGROUND_KEPT_BYTES)
        return taken.kept()[-BACKGROUND_KEPT_BYTES:], taken.total

    def _free_pair(self) -> int:
        """One that nothing in the background holds; the last when all are held."""
        for pair in range(driver.OUTPUT_PAIRS):
            if not self._held >> (2 * pair) & 0b11:
                return pair
        return driver.OUTPUT_PAIRS - 1

    async def _note_holders(self, pair: int) -> None:
        """Who holds which pipe now. Asked only when something may run beside the shell."""
        await trio.lowlevel.checkpoint()
        with trio.move_on_after(_HOLDERS_LIMIT_S):
            answer = await self._link.ask(protocol.HOLDERS, (self.session.call_id,))
            answer.drop()
            if answer.kind == protocol.HELD:
                self._held = answer.fixed[0] >> (driver.FIRST_OUTPUT_FD - protocol.FIRST_EXTRA_FD)
                return
        self._held |= 0b11 << (2 * pair)

    def close(self) -> None:
        """Gives up its descriptors. Only once it is over."""
        self._link.unwatch(self._status)
        for pipe in self._outputs:
            self._link.unwatch(pipe)
        close_all([self._command, self._line, self._status, *self._outputs])
        self._outputs = []


def _now_ticks() -> int:
    """Of the clock in which the kernel tells when a process started."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * _TICKS_PER_S)


async def start_shell(link: AgentLink, groups: SlotGroup) -> StatefulShell | None:
    """A shell that is ready for its first command; ``None`` when none came up.

    Cancellation: atomic; nothing of it is left.

    Raises:
        AgentLostError: the agent is gone.
        OSError: the host has no room for it.
    """
    ours: list[int] = []
    theirs: list[int] = []
    try:
        shell = _start(link, groups, ours, theirs)
    except BaseException:
        close_all(ours)
        raise
    finally:
        close_all(theirs)
    ready = False
    try:
        ready = await shell.wait_ready()
    finally:
        if not ready:
            with trio.CancelScope(shield=True):  # bounded by the session's end
                await shell.session.end()
                shell.close()
    return shell if ready else None


def _start(link: AgentLink, groups: SlotGroup, ours: list[int], theirs: list[int]) -> StatefulShell:
    command = os.memfd_create("command", os.MFD_CLOEXEC)
    ours.append(command)
    os.fchmod(command, 0o444)  # the slot reads it; what it runs is ours to say
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    theirs.append(null)
    line_end, line = os.pipe2(os.O_CLOEXEC)
    theirs.append(line_end)
    ours.append(line)
    os.set_blocking(line, False)
    readable = os.open(f"/proc/self/fd/{command}", os.O_RDONLY | os.O_CLOEXEC)
    theirs.append(readable)
    readers, writers = [], []
    for _ in range(1 + 2 * driver.OUTPUT_PAIRS):
        reader, writer = os.pipe2(os.O_CLOEXEC)
        ours.append(reader)
        theirs.append(writer)
        os.set_blocking(reader, False)
        readers.append(reader)
        writers.append(writer)
    session = start_session(link, groups, driver.ARGV, given=[line_end, null, null, readable, *writers])
    return StatefulShell(session, command=command, line=line, status=readers[0], outputs=readers[1:])
