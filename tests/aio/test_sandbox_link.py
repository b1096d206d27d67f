"""The daemon's end of an agent, against a scripted agent on a socket pair: no slot, no process."""

from __future__ import annotations

import array
import os
import socket
from collections.abc import AsyncIterator

import pytest
import trio
import trio.lowlevel
import trio.testing

from sandbox_daemon.agent import protocol
from sandbox_daemon.process.command import CommandSpec, Ending, Exit, Ran, Refusal
from sandbox_daemon.process.link import AgentLink, Message
from sandbox_daemon.process.outcome import AgentLostError
from sandbox_daemon.process.running import Running, memory_file, start
from sandbox_daemon.process.supervise import supervise


class FakeAgent:
    """Hears what the daemon says and answers what the test wants."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    def hear(self) -> tuple[int, int, tuple[int, ...], list[bytes], list[int]]:
        """The next message and its descriptors."""
        data, ancillary, _, _ = self.sock.recvmsg(protocol.MAX_MESSAGE_BYTES, 1024)
        descriptors = array.array("i")
        for _, _, rights in ancillary:
            descriptors.frombytes(rights)
        return (*protocol.unpack(data), list(descriptors))

    def say(
        self, kind: int, call_id: int, fixed: tuple[int, ...] = (), strings: tuple[bytes, ...] = ()
    ) -> None:
        """One message."""
        self.sock.send(protocol.pack(kind, call_id, fixed, strings))


@pytest.fixture
async def both() -> AsyncIterator[tuple[AgentLink, FakeAgent]]:
    """A link that is served, and its agent."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    theirs.settimeout(5)
    link = AgentLink(ours, name="slot 7")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(link.pump)
        with theirs:
            yield link, FakeAgent(theirs)
        link.close()


async def _ask(link: AgentLink, answers: list[object]) -> None:
    try:
        answers.append(await link.ask(protocol.READ, (0, 10, 0), (b"p",)))
    except AgentLostError as error:
        answers.append(error)


async def test_answers_find_their_questions(both: tuple[AgentLink, FakeAgent]) -> None:
    """In whatever order they come."""
    link, agent = both
    first: list[Message] = []
    second: list[Message] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_ask, link, first)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(_ask, link, second)
        await trio.testing.wait_all_tasks_blocked()
        one, two = agent.hear()[1], agent.hear()[1]
        agent.say(protocol.WRITTEN, two, (2,))
        agent.say(protocol.WRITTEN, one, (1,))
    assert (first[0].fixed, second[0].fixed) == ((1,), (2,))
    assert repr(link) == "<AgentLink slot 7 up, 0 calls, 0 pipes>"


async def test_a_late_answer_to_a_cancelled_question_is_ignored(both: tuple[AgentLink, FakeAgent]) -> None:
    """With the descriptor it carries."""
    link, agent = both
    with trio.move_on_after(0.01):
        await link.ask(protocol.READ, (0, 10, 0), (b"p",))
    call_id = agent.hear()[1]
    message = protocol.pack(protocol.CONTENT, call_id, (1, 0, 0, 1), (b"",))
    before = len(os.listdir("/proc/self/fd"))
    descriptor = memory_file(b"x")
    agent.sock.sendmsg([message], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))])
    os.close(descriptor)
    await trio.testing.wait_all_tasks_blocked(0.02)
    assert link.lost is None
    assert len(os.listdir("/proc/self/fd")) == before


async def test_the_end_of_the_socket_loses_every_question(both: tuple[AgentLink, FakeAgent]) -> None:
    """Each with the same typed error; asking again says it at once."""
    link, agent = both
    answers: list[object] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_ask, link, answers)
        nursery.start_soon(_ask, link, answers)
        await trio.testing.wait_all_tasks_blocked()
        agent.sock.close()
    assert [type(answer) for answer in answers] == [AgentLostError, AgentLostError]
    with pytest.raises(AgentLostError, match="slot 7 is gone"):
        await link.ask(protocol.SURVEY)
    assert "lost" in repr(link)


@pytest.mark.parametrize("garbage", [b"\x00", b"\xff" * 100, protocol.pack(protocol.WRITTEN, 1, (1,)) + b"x"])
async def test_garbage_loses_the_link_and_raises_nowhere(
    both: tuple[AgentLink, FakeAgent], garbage: bytes
) -> None:
    """What is wrong is said."""
    link, agent = both
    agent.sock.send(garbage)
    await trio.testing.wait_all_tasks_blocked(0.02)
    assert link.lost is not None
    assert "malformed" in link.lost


async def test_answers_to_nobody_are_ignored_up_to_a_flood(both: tuple[AgentLink, FakeAgent]) -> None:
    """A thousand may be late; more is talk."""
    link, agent = both
    for _ in range(1000):
        agent.say(protocol.WRITTEN, 77, (1,))
        if link._strays % 100 == 99:
            await trio.lowlevel.checkpoint()
        await trio.lowlevel.checkpoint()
    await trio.testing.wait_all_tasks_blocked(0.02)
    assert link.lost is None
    agent.say(protocol.WRITTEN, 77, (1,))
    await trio.testing.wait_all_tasks_blocked(0.02)
    assert link.lost == "it talks without being asked"


async def test_an_agent_that_does_not_read_is_lost_not_waited_for(both: tuple[AgentLink, FakeAgent]) -> None:
    """A handful of messages fill no buffer; when it is full, nobody is there."""
    link, _ = both
    message = protocol.pack(protocol.WRITE, 5, (0, 0), (b"p", b"x" * 50_000))

    def fill() -> None:
        for _ in range(100):
            link.send(message)

    with pytest.raises(AgentLostError):
        fill()
    await trio.lowlevel.checkpoint()
    assert link.lost is not None


class Rung:
    """The last rung: counts, and says what it is told to."""

    def __init__(self, dead: bool) -> None:
        self.dead = dead
        self.climbed = 0

    async def kill(self) -> bool:
        """Cancellation: atomic."""
        await trio.lowlevel.checkpoint()
        self.climbed += 1
        return self.dead


def _started(both: tuple[AgentLink, FakeAgent], **more: object) -> tuple[Running, int, list[int]]:
    link, agent = both
    running = start(link, CommandSpec(command=b"true", **more))
    kind, call_id, _, _, descriptors = agent.hear()
    assert kind == protocol.SPAWN
    return running, call_id, descriptors


async def _supervised(
    both: tuple[AgentLink, FakeAgent], running: Running, rung: Rung, limit_s: float, results: list[Ran]
) -> None:
    try:
        results.append(await supervise(both[0], running, limit_s=limit_s, kill=rung.kill))
    finally:
        running.close()


async def test_an_exit_ends_a_command_with_all_its_output(both: tuple[AgentLink, FakeAgent]) -> None:
    """What is in the pipes at the exit is taken then; nobody waits for their end."""
    results: list[Ran] = []
    rung = Rung(dead=True)
    running, call_id, pipes = _started(both)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_supervised, both, running, rung, 10.0, results)
        os.write(pipes[0], b"out")
        os.write(pipes[1], b"err")
        both[1].say(protocol.EXITED, call_id, (3 << 8, 1500, 10, 2, 1))
    (ran,) = results
    assert (ran.ending, ran.stdout.kept(), ran.stderr.kept()) == (Ending.EXITED, b"out", b"err")
    assert ran.report == Exit(status=3 << 8, cpu_us=1500, peak_kib=10, swept=2, held=True)
    assert rung.climbed == 0
    for pipe in pipes:
        os.close(pipe)


async def test_a_command_that_could_not_start_is_a_refusal(both: tuple[AgentLink, FakeAgent]) -> None:
    """Not an exit."""
    results: list[Ran] = []
    running, call_id, pipes = _started(both)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_supervised, both, running, Rung(dead=True), 10.0, results)
        both[1].say(protocol.FAILED, call_id, (protocol.REASON_OS, 7, 0))
    assert results[0].report == Refusal(reason=protocol.REASON_OS, code=7)
    for pipe in pipes:
        os.close(pipe)


async def test_an_answer_of_the_wrong_kind_is_no_answer(both: tuple[AgentLink, FakeAgent]) -> None:
    """The slot is killed from outside, and the call lost."""
    results: list[Ran] = []
    rung = Rung(dead=True)
    running, call_id, pipes = _started(both)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_supervised, both, running, rung, 10.0, results)
        both[1].say(protocol.WRITTEN, call_id, (1,))
    assert (results[0].ending, rung.climbed) == (Ending.SANDBOX_LOST, 1)
    for pipe in pipes:
        os.close(pipe)


async def _obey(agent: FakeAgent, call_id: int, at: int) -> list[int]:
    """Plays an agent that reports the exit when it hears ``at``; returns what it heard."""
    heard = []
    while True:
        with trio.fail_after(5):
            await trio.lowlevel.wait_readable(agent.sock)
        kind, *_ = agent.hear()
        heard.append(kind)
        if kind == at:
            agent.say(protocol.EXITED, call_id, (15, 0, 0, 0, 0))
            return heard


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        (protocol.SIGNAL, [protocol.SIGNAL]),
        # SIGTERM, and SIGCONT: what is stopped hears nothing else.
        (protocol.SWEEP, [protocol.SIGNAL, protocol.SIGNAL, protocol.SWEEP]),
    ],
)
async def test_a_limit_climbs_the_ladder_as_far_as_it_must(
    both: tuple[AgentLink, FakeAgent], at: int, expected: list[int]
) -> None:
    """The ending stays the limit's, whatever the exit says."""
    results: list[Ran] = []
    rung = Rung(dead=True)
    running, call_id, pipes = _started(both)
    heard: list[int] = []

    async def obey() -> None:
        heard.extend(await _obey(both[1], call_id, at))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(_supervised, both, running, rung, 0.02, results)
        nursery.start_soon(obey)
    assert heard == expected
    assert (results[0].ending, results[0].dead, rung.climbed) == (Ending.LIMIT, True, 0)
    assert results[0].kill_ms is not None
    for pipe in pipes:
        os.close(pipe)


@pytest.mark.slow
@pytest.mark.parametrize("dead", [True, False])
async def test_an_agent_that_does_not_answer_is_killed_from_outside(
    both: tuple[AgentLink, FakeAgent], dead: bool
) -> None:
    """And when even that shows nothing, the result says so."""
    results: list[Ran] = []
    rung = Rung(dead=dead)
    running, _, pipes = _started(both)
    await _supervised(both, running, rung, 0.02, results)
    assert (results[0].ending, results[0].dead, rung.climbed) == (Ending.LIMIT, dead, 1)
    assert results[0].kill_ms is not None
    assert 740 < results[0].kill_ms < 2000
    for pipe in pipes:
        os.close(pipe)


async def test_a_cancel_sweeps_without_grace_before_it_leaves(both: tuple[AgentLink, FakeAgent]) -> None:
    """Shielded: Cancelled comes after the death."""
    rung = Rung(dead=True)
    running, call_id, pipes = _started(both)
    heard: list[int] = []

    async def obey() -> None:
        with trio.CancelScope(shield=True):
            heard.extend(await _obey(both[1], call_id, protocol.SWEEP))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(obey)
        nursery.start_soon(_supervised, both, running, rung, 10.0, [])
        await trio.testing.wait_all_tasks_blocked(0.02)
        nursery.cancel_scope.cancel()
    assert heard == [protocol.SWEEP]
    assert running.finished.is_set()
    assert rung.climbed == 0
    for pipe in pipes:
        os.close(pipe)


async def test_a_link_lost_under_a_command_loses_the_command(both: tuple[AgentLink, FakeAgent]) -> None:
    """What had been printed is kept, and the slot is shown dead from outside."""
    results: list[Ran] = []
    rung = Rung(dead=True)
    running, _, pipes = _started(both)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_supervised, both, running, rung, 10.0, results)
        os.write(pipes[0], b"early")
        both[1].sock.close()
    assert (results[0].ending, results[0].stdout.kept(), rung.climbed) == (Ending.SANDBOX_LOST, b"early", 1)
    for pipe in pipes:
        os.close(pipe)


async def test_output_beyond_the_drain_cap_ends_the_command(both: tuple[AgentLink, FakeAgent]) -> None:
    """Without grace: it has had its say."""
    results: list[Ran] = []
    running, call_id, pipes = _started(both, max_drained_bytes=1000)
    os.write(pipes[0], b"x" * 2000)
    heard: list[int] = []

    async def obey() -> None:
        heard.extend(await _obey(both[1], call_id, protocol.SWEEP))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(_supervised, both, running, Rung(dead=True), 10.0, results)
        nursery.start_soon(obey)
    assert heard == [protocol.SWEEP]
    assert (results[0].ending, results[0].stdout.total) == (Ending.OUTPUT_LIMIT, 2000)
    for pipe in pipes:
        os.close(pipe)


async def test_closed_pipes_are_no_end_of_the_command(both: tuple[AgentLink, FakeAgent]) -> None:
    """They are dropped, and the exit is waited for."""
    results: list[Ran] = []
    running, call_id, pipes = _started(both)
    for pipe in pipes:
        os.close(pipe)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_supervised, both, running, Rung(dead=True), 10.0, results)
        await trio.testing.wait_all_tasks_blocked(0.02)
        assert not results
        both[1].say(protocol.EXITED, call_id, (0, 0, 0, 0, 0))
    assert results[0].ending is Ending.EXITED


async def test_starting_without_an_agent_leaks_no_descriptor(both: tuple[AgentLink, FakeAgent]) -> None:
    """Pipes and memory files are closed on the way out."""
    link, agent = both
    agent.sock.close()
    await trio.testing.wait_all_tasks_blocked(0.02)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(AgentLostError):
        start(link, CommandSpec(command=b"x" * 200_000, stdin=b"in"))
    assert len(os.listdir("/proc/self/fd")) == before


async def test_standard_input_and_long_commands_travel_as_memory(both: tuple[AgentLink, FakeAgent]) -> None:
    """In the order the agent takes them."""
    link, agent = both
    running = start(link, CommandSpec(command=b"# " + b"x" * 200_000, stdin=b"in"))
    await trio.lowlevel.checkpoint()
    _, _, fixed, strings, descriptors = agent.hear()
    assert fixed == (protocol.SPAWN_STDIN | protocol.SPAWN_COMMAND_FD,)
    assert strings[3] == b". /proc/self/fd/9"
    assert os.read(descriptors[0], 10) == b"in"
    assert os.read(descriptors[3], 10) == b"# xxxxxxxx"
    running.close()
    for descriptor in descriptors:
        os.close(descriptor)


async def test_a_silent_command_is_ended_and_a_talking_one_is_not(both: tuple[AgentLink, FakeAgent]) -> None:
    """Silence is counted from the last output; the soft signal comes first, as for every limit."""
    results: list[Ran] = []
    running, call_id, pipes = _started(both, no_output_limit_s=0.2)
    began = trio.current_time()
    heard: list[int] = []

    async def talk_then_obey() -> None:
        for _ in range(5):
            await trio.sleep(0.1)
            os.write(pipes[1], b"x")
        heard.extend(await _obey(both[1], call_id, protocol.SIGNAL))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(_supervised, both, running, Rung(dead=True), 30.0, results)
        nursery.start_soon(talk_then_obey)
    assert (results[0].ending, results[0].stderr.total) == (Ending.NO_OUTPUT_LIMIT, 5)
    assert trio.current_time() - began >= 0.65
    for pipe in pipes:
        os.close(pipe)


class FakeGroup:
    """A control group of which the test says who is in it; ``events`` is a socket, as epoll wants one."""

    def __init__(self) -> None:
        self.inside, self.killed, self._cpu = 0, 0, 0
        self._events = socket.socketpair()
        self.events = self._events[0].fileno()
        self.procs = self.kill_fd = os.open("/dev/null", os.O_WRONLY)

    def populated(self) -> bool:
        """Whether somebody is left."""
        return self.inside > 0

    def count(self) -> int:
        """How many are."""
        return self.inside

    def kill(self) -> None:
        """They will be gone when the test says so."""
        self.killed += 1

    def cpu_us(self) -> int:
        """Each look finds 500 µs more."""
        self._cpu += 500
        return self._cpu

    def leave(self) -> None:
        """The last one dies, and the kernel tells."""
        self.inside = 0
        self._events[1].send(b"!", socket.MSG_OOB)

    def close(self) -> None:
        """The test is over."""
        for end in self._events:
            end.close()
        os.close(self.procs)


async def test_a_command_is_over_when_its_group_is_empty(both: tuple[AgentLink, FakeAgent]) -> None:
    """Not when the shell has ended: what it left behind is killed and waited for, and then told of."""
    link, agent = both
    group, results, rung = FakeGroup(), [], Rung(dead=True)
    running = start(link, CommandSpec(command=b"true"), group)
    _, call_id, (flags,), _, pipes = agent.hear()
    assert flags & protocol.SPAWN_GROUP
    assert len(pipes) == 4
    group.inside = 3
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_supervised, both, running, rung, 10.0, results)
        agent.say(protocol.EXITED, call_id, (0, 7, 10, 0, 0))
        await trio.testing.wait_all_tasks_blocked(0.02)
        assert (results, group.killed) == ([], 1)
        group.leave()
    assert results[0].report == Exit(status=0, cpu_us=500, peak_kib=10, swept=3, held=True)
    assert (results[0].ending, rung.climbed) == (Ending.EXITED, 0)
    group.close()
    for pipe in pipes:
        os.close(pipe)


async def test_a_group_that_does_not_get_empty_takes_the_slot_with_it(
    both: tuple[AgentLink, FakeAgent], autojump_clock: trio.testing.MockClock
) -> None:
    """The exit is believed, the promise that nothing is left is not."""
    link, agent = both
    group, results, rung = FakeGroup(), [], Rung(dead=False)
    running = start(link, CommandSpec(command=b"true"), group)
    _, call_id, _, _, pipes = agent.hear()
    group.inside = 1
    agent.say(protocol.EXITED, call_id, (0, 7, 10, 0, 0))
    await _supervised(both, running, rung, 10.0, results)
    assert (results[0].ending, results[0].dead, rung.climbed) == (Ending.EXITED, False, 1)
    group.close()
    for pipe in pipes:
        os.close(pipe)


async def test_an_empty_group_costs_nobody_a_kill(both: tuple[AgentLink, FakeAgent]) -> None:
    """Most commands leave nothing behind."""
    link, agent = both
    group, results = FakeGroup(), []
    running = start(link, CommandSpec(command=b"true"), group)
    _, call_id, _, _, pipes = agent.hear()
    agent.say(protocol.EXITED, call_id, (0, 7, 10, 0, 0))
    await _supervised(both, running, Rung(dead=True), 10.0, results)
    assert (group.killed, results[0].report.swept, results[0].report.held) == (0, 0, False)
    group.close()
    for pipe in pipes:
        os.close(pipe)
