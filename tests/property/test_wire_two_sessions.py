"""Two sessions over a wire that is cut at any byte, resumed, crashed and superseded, reach the same state."""

from __future__ import annotations

import random
from collections import defaultdict

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hermes_trio.errors import BusyError, Provenance
from hermes_trio.wire.codec import FrameDecoder
from hermes_trio.wire.frames import (
    Accepted,
    Call,
    CallId,
    Cancel,
    Credit,
    Drain,
    Epoch,
    Heartbeat,
    Hello,
    Input,
    Lease,
    LeaseLost,
    Limits,
    Output,
    Result,
    SessionId,
    SlotId,
    Stream,
    Welcome,
)
from hermes_trio.wire.session import CallState, Event, LinkState, Role, Session, SessionReset

pytestmark = pytest.mark.slow

EXECUTOR_LIMITS = Limits(max_message_bytes=4096, max_calls=3, window_frames=7, window_bytes=9000)
DAEMON_LIMITS = Limits(max_message_bytes=5000, max_calls=4, window_frames=5, window_bytes=5000)
PAYLOADS = (b"", b"x", b"y" * 40, b"z" * 3000)


class World:
    """Both sides, the bytes between them, and what each side was told."""

    def __init__(self) -> None:
        self.executor = Session.for_executor(SessionId("s"), limits=EXECUTOR_LIMITS)
        self.daemon: Session | None = None
        self.epoch = 0
        self.to_daemon = b""
        self.to_executor = b""
        self.hello = FrameDecoder(4096)  # reads a new link's first frame
        self.linked = False  # bytes arrive; a side that has not noticed the cut writes into the void
        self.greeted = False  # the daemon has read the hello of the present link
        self.offered: list[CallId] = []
        self.delivered: list[CallId] = []
        self.results: list[CallId] = []
        self.sent_output: dict[CallId, bytes] = defaultdict(bytes)
        self.got_output: dict[CallId, bytes] = defaultdict(bytes)
        self.sent_input: dict[CallId, bytes] = defaultdict(bytes)
        self.got_input: dict[CallId, bytes] = defaultdict(bytes)
        self.notices_sent: list[str] = []
        self.notices_got: list[str] = []
        self.lost: set[CallId] = set()
        self.granted: dict[tuple[Role, CallId], int] = defaultdict(int)

    # --- links ---

    def connect(self) -> None:
        """A new link; the executor may not have noticed the loss of the old one."""
        self.to_daemon = self.to_executor = b""
        self.hello, self.greeted, self.linked = FrameDecoder(4096), False, True
        self.executor.link_up()

    def cut(self, *, executor_notices: bool, daemon_notices: bool) -> None:
        """The bytes under way are gone."""
        self.to_daemon = self.to_executor = b""
        self.greeted = self.linked = False
        if executor_notices:
            self.executor.link_lost()
        if daemon_notices and self.daemon is not None:
            self.daemon.link_lost()

    def crash(self, *, same_epoch: bool) -> None:
        """The daemon forgets the session: it died, or the session's lease ended."""
        self.cut(executor_notices=True, daemon_notices=False)
        self.daemon = None
        self.epoch += 0 if same_epoch else 1

    # --- bytes ---

    def carry_to_daemon(self, count: int, take: int | None = None) -> None:
        """Move up to so many bytes."""
        if self.executor.state is LinkState.DOWN:
            return
        sent = self.executor.data_to_send(max_bytes=take)
        if not self.linked:
            return
        self.to_daemon += sent
        data, self.to_daemon = self.to_daemon[:count], self.to_daemon[count:]
        if not self.greeted:
            data = self.greet(data)
        if self.greeted and self.daemon is not None:
            for event in self.daemon.receive_data(data):
                self.tell_daemon(event)

    def greet(self, data: bytes) -> bytes:
        """Read the hello as a server does; returns what is left for the session."""
        frames = self.hello.feed(data, at_most=1)
        if not frames:
            return b""
        ((_, hello),) = frames
        assert isinstance(hello, Hello)
        if self.daemon is None:
            self.daemon = Session.for_daemon(
                hello, epoch=Epoch(self.epoch), limits=DAEMON_LIMITS, slots=1, isolation={}
            )
            self.notices_sent.clear()
        self.daemon.accept(hello)
        self.greeted = True
        return self.hello.leftover

    def carry_to_executor(self, count: int, take: int | None = None) -> None:
        """Move up to so many bytes."""
        if self.daemon is None or self.daemon.state is LinkState.DOWN:
            return
        sent = self.daemon.data_to_send(max_bytes=take)
        if not (self.linked and self.greeted):
            return
        self.to_executor += sent
        data, self.to_executor = self.to_executor[:count], self.to_executor[count:]
        for event in self.executor.receive_data(data):
            self.tell_executor(event)

    # --- what each side is told ---

    def tell_daemon(self, event: Event) -> None:
        """Note what the daemon hears; nothing may come twice or out of place."""
        match event:
            case Call():
                assert event.call_id not in self.delivered, "a call was delivered twice"
                self.delivered.append(event.call_id)
            case Input():
                assert event.offset == len(self.got_input[event.call_id])
                self.got_input[event.call_id] += event.payload
            case Cancel() | Credit() | Heartbeat():
                pass
            case _:
                raise AssertionError(event)

    def tell_executor(self, event: Event) -> None:
        """Note what the executor hears; nothing may come twice or out of place."""
        match event:
            case Result():
                assert event.call_id not in self.results, "a result was delivered twice"
                self.results.append(event.call_id)
            case Output():
                assert event.offset == len(self.got_output[event.call_id])
                self.got_output[event.call_id] += event.payload
            case SessionReset():
                open_calls = [c for c in self.offered if c not in self.results and c not in self.lost]
                assert list(event.calls) == open_calls
                assert set(event.not_started).isdisjoint(self.delivered), "said not to have started"
                self.lost.update(event.calls)
                self.notices_got.clear()
            case Drain() | LeaseLost():
                self.notices_got.append(str(event))
            case Accepted() | Credit() | Heartbeat() | Welcome():
                pass
            case _:
                raise AssertionError(event)

    # --- verbs; each does nothing when it is not allowed now ---

    def call(self, payload: bytes) -> None:
        """Offer a call."""
        if self.executor.begun and self.executor.call_room():
            call_id = self.executor.call("x", {"n": 1}, output_credit=50, payload=payload)
            self.offered.append(call_id)

    def cancel(self, call_id: CallId) -> None:
        """Cancel a call that was not cancelled."""
        if self.executor.state_of(call_id) in (CallState.OFFERED, CallState.RUNNING):
            self.executor.cancel(call_id)

    def send_input(self, call_id: CallId, payload: bytes) -> None:
        """Send what the credit allows."""
        payload = payload[: self.executor.input_room(call_id)]
        if self.executor.state_of(call_id) is CallState.RUNNING:
            self.executor.input(call_id, payload)
            self.sent_input[call_id] += payload

    def send_output(self, call_id: CallId, payload: bytes) -> None:
        """Send what the credit allows."""
        assert self.daemon is not None
        payload = payload[: self.daemon.output_room(call_id)]
        if self.daemon.state_of(call_id) in (CallState.RUNNING, CallState.CANCELLING):
            self.daemon.output(call_id, Stream.STDOUT, payload)
            self.sent_output[call_id] += payload

    def accept_call(self, call_id: CallId) -> None:
        """Start a call."""
        assert self.daemon is not None
        if self.daemon.state_of(call_id) in (CallState.OFFERED, CallState.WITHDRAWN):
            self.daemon.accepted(call_id, input_credit=60)

    def answer(self, call_id: CallId, payload: bytes) -> None:
        """End a call."""
        assert self.daemon is not None
        self.daemon.result(call_id, Provenance.OK, payload=payload)

    def credit(self, session: Session, call_id: CallId, more: int) -> None:
        """Grant more than ever before."""
        allowed = {CallState.RUNNING, CallState.CANCELLING}
        if session.state_of(call_id) in allowed:
            self.granted[session.role, call_id] += more + 60
            session.credit(call_id, self.granted[session.role, call_id])

    def notice(self, kind: int) -> None:
        """Say something that is about no call."""
        assert self.daemon is not None
        if kind % 2:
            self.daemon.drain(1.0)
            self.notices_sent.append(str(Drain(grace_s=1.0)))
        else:
            lease = Lease(slot=SlotId("s"), epoch=kind)
            self.daemon.lease_lost(lease, "r")
            self.notices_sent.append(str(LeaseLost(lease=lease, reason="r")))

    # --- one step of a random history ---

    def step(self, action: int, pick: int, size: int) -> bool:
        """Do something; returns whether the window refused it."""
        mine = self.executor.live_calls
        its = self.daemon.live_calls if self.daemon is not None and self.daemon.begun else ()
        payload = PAYLOADS[size % len(PAYLOADS)]
        try:
            match action:
                case 0 | 1 | 2:
                    self.carry_to_daemon(size, take=pick)
                case 3 | 4 | 5:
                    self.carry_to_executor(size, take=pick)
                case 6 | 7:
                    self.call(payload)
                case 8 if mine:
                    self.cancel(mine[pick % len(mine)])
                case 9 if mine:
                    self.send_input(mine[pick % len(mine)], payload)
                case 10 if mine:
                    self.credit(self.executor, mine[pick % len(mine)], size)
                case 11 | 12 if its:
                    self.accept_call(its[pick % len(its)])
                case 13 if its:
                    self.send_output(its[pick % len(its)], payload)
                case 14 if its and self.daemon is not None:
                    self.credit(self.daemon, its[pick % len(its)], size)
                case 15 if its:
                    self.answer(its[pick % len(its)], payload)
                case 16 if self.daemon is not None:
                    self.notice(size)
                case 17:
                    (self.executor if pick % 2 or self.daemon is None else self.daemon).heartbeat(size)
                case 18:
                    self.cut(executor_notices=bool(pick & 1), daemon_notices=bool(pick & 2))
                case 19:
                    self.cut(executor_notices=True, daemon_notices=bool(pick & 1))
                    self.connect()
                case 20 | 21:
                    self.connect()
                case 23:
                    self.carry_to_daemon(10**9)
                    self.carry_to_executor(10**9)
                case 22 if pick % 4 == 0:
                    self.crash(same_epoch=bool(size & 1))
                case _:
                    pass
            refused = False
        except BusyError:
            refused = True
        self.check_bounds()
        return refused

    def check_bounds(self) -> None:
        """No window ever holds more than its bound."""
        for session in (self.executor, self.daemon):
            if session is not None:
                assert session.unacknowledged_frames <= session.limits.window_frames
                assert session.unacknowledged_bytes <= session.limits.window_bytes
                assert session.calls_in_flight <= session.limits.max_calls
        assert not (self.executor.room() and self.executor.unacknowledged_frames >= 7)

    # --- the end of every history ---

    def settle(self) -> None:
        """Mend the link, answer every call, and let everything arrive."""
        self.connect()
        for _ in range(400):
            self.carry_to_daemon(10**9)
            self.carry_to_executor(10**9)
            assert self.daemon is not None
            for call_id in self.daemon.live_calls:
                if self.daemon.room():
                    self.answer(call_id, b"")
            if not (self.executor.has_data or self.daemon.has_data or self.daemon.live_calls):
                break
        else:
            raise AssertionError(f"never quiet: {self.executor!r} {self.daemon!r}")
        self.executor.heartbeat(1)
        self.carry_to_daemon(10**9)
        self.daemon.heartbeat(1)
        self.carry_to_executor(10**9)
        self.carry_to_daemon(10**9)

    def check_joint_state(self) -> None:
        """Both sides know the same, and have nothing left to say."""
        assert self.daemon is not None
        assert not self.executor.live_calls
        assert not self.daemon.live_calls
        assert self.executor.unacknowledged_frames == self.daemon.unacknowledged_frames == 0
        assert self.executor.epoch == self.daemon.epoch
        assert self.delivered == sorted(self.delivered)
        assert set(self.results) | self.lost == set(self.offered)
        assert not set(self.results) & self.lost
        assert set(self.delivered) >= set(self.results), "a result without its call"
        assert self.notices_got == self.notices_sent
        for call_id in self.results:
            assert self.got_output[call_id] == self.sent_output[call_id]
            assert self.sent_input[call_id].startswith(self.got_input[call_id])


EXAMPLES = max(500, settings().max_examples)
"""500 before each change is taken, 10,000 at night: nothing else here is built on so much."""

Step = tuple[int, int, int]
STEPS = st.lists(
    st.tuples(st.integers(0, 23), st.integers(0, 7), st.sampled_from((0, 1, 2, 3, 9, 60, 61, 300, 5000))),
    max_size=120,
)


@given(steps=STEPS)
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_history_of_verbs_cuts_and_crashes_ends_in_one_joint_state(
    steps: list[tuple[int, int, int]],
) -> None:
    """Each call is delivered at most once, each result once, streams without gaps, nothing left behind."""
    world = World()
    world.connect()
    for step in steps:
        world.step(*step)
    world.settle()
    world.check_joint_state()


@given(steps=STEPS)
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_without_crashes_no_call_is_ever_lost(steps: list[Step]) -> None:
    """However often the link is cut, every call is delivered and every result comes back."""
    world = World()
    world.connect()
    world.carry_to_daemon(10**9)
    world.carry_to_executor(10**9)
    for action, pick, size in steps:
        if action != 22:
            world.step(action, pick, size)
    world.settle()
    world.check_joint_state()
    assert world.delivered == world.offered
    assert sorted(world.results) == world.offered


def test_cut_at_every_single_byte_of_a_conversation() -> None:
    """No byte is special: cut after n bytes of one direction, for every n, then resume."""
    for towards_daemon in (True, False):
        for count in range(1200):
            world = World()
            world.connect()
            world.carry_to_daemon(10**9)
            world.carry_to_executor(10**9)
            world.call(b"y" * 40)
            if towards_daemon:
                world.call(b"")
            if not towards_daemon:
                world.carry_to_daemon(10**9)
                for call_id in world.delivered:
                    world.accept_call(call_id)
                    world.send_output(call_id, b"o" * 20)
                    world.answer(call_id, b"r")
            carry = world.carry_to_daemon if towards_daemon else world.carry_to_executor
            carry(count)
            arrived_all = not (world.to_daemon or world.to_executor)
            world.cut(executor_notices=True, daemon_notices=True)
            world.settle()
            world.check_joint_state()
            assert world.delivered == world.offered == sorted(world.results)
            if arrived_all and count:
                break
        else:
            raise AssertionError("the conversation is longer than the test")


@pytest.mark.parametrize("seed", range(30))
def test_long_histories_end_in_one_joint_state(seed: int) -> None:
    """Hypothesis prefers short histories; these are long, and busy enough to fill the windows."""
    dice = random.Random(seed)
    world = World()
    world.connect()
    refused = 0
    actions = (*[*range(18)] * 3, *[23] * 8, 18, 19, 20, 20, 22 if seed % 2 else 19)
    for _ in range(1200):
        size = dice.choice((0, 1, 2, 3, 60, 300, 5000, 5000, 5000))
        refused += world.step(dice.choice(actions), dice.choice((0, 1, 4, 7, 5000)), size)
    world.settle()
    world.check_joint_state()
    assert len(world.results) > 5
    assert refused, "the windows never were full: this history proves little"
