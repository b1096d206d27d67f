"""The server's side of a session, spoken to in frames: what no executor of ours would say."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from hermes_trio.errors import BrokenLinkError, Provenance
from hermes_trio.link.message import MessageLink
from hermes_trio.link.pump import Pump
from hermes_trio.testing.links import open_memory_links
from hermes_trio.wire.frames import (
    Accepted,
    CallId,
    Drain,
    Epoch,
    Error,
    ErrorCode,
    Goodbye,
    Lease,
    Limits,
    Result,
    SessionId,
    SlotId,
    Welcome,
)
from hermes_trio.wire.session import Event, Session, SessionReset
from sandbox_daemon.isolation.probe import probe
from sandbox_daemon.server.admission import Admission, Bounds
from sandbox_daemon.server.host import Host
from sandbox_daemon.server.sessions import Sessions, open_sessions
from sandbox_daemon.slots.pool import SlotPoolConfig, open_slot_pool

pytestmark = pytest.mark.slow


class Caller:
    """An executor's end that says exactly what it is told to say."""

    def __init__(self, session_id: str) -> None:
        self.events: list[Event] = []
        self.results: dict[CallId, Result] = {}
        self._news = trio.Event()
        self._pump = Pump(Session.for_executor(SessionId(session_id), limits=Limits()), on_event=self._hear)

    def _hear(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, Result):
            self.results[event.call_id] = event
        self._news.set()
        self._news = trio.Event()

    async def run(self, link: MessageLink) -> None:
        """Drive the link until it ends."""
        self._pump.session.link_up()
        try:
            with pytest.raises(BrokenLinkError):
                await self._pump.run(link)
        finally:
            self._pump.session.link_lost()

    async def heard(self, kind: type[Event]) -> Any:
        """The first event of this kind."""
        while True:
            for event in self.events:
                if isinstance(event, kind):
                    return event
            await self._news.wait()

    def post(self, operation: str, arguments: dict[str, Any], **fields: Any) -> list[CallId]:
        """Send a call; its id is in the list once it is written."""
        ids: list[CallId] = []
        self._pump.post(lambda session: ids.append(session.call(operation, arguments, **fields)))
        return ids

    def cancel(self, call_id: CallId) -> None:
        """Say so."""
        self._pump.post(lambda session: session.cancel(call_id))

    async def ask(self, operation: str, arguments: dict[str, Any], **fields: Any) -> Result:
        """Send a call and wait for its result."""
        ids = self.post(operation, arguments, **fields)
        await self.answered(ids)
        return self.results[ids[0]]

    async def answered(self, ids: list[CallId]) -> None:
        """Wait for the result of a posted call."""
        while not ids or ids[0] not in self.results:
            await self._news.wait()

    async def acquire(self) -> Lease:
        """Get a slot."""
        data = (await self.ask("slot.acquire", {}, trajectory_id="t")).data
        return Lease(slot=SlotId(data["slot"]), epoch=data["epoch"])


@asynccontextmanager
async def hosting(slots: int = 1, **options: Any) -> AsyncIterator[Sessions]:
    """A real pool behind a host, without a socket."""
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="peer-test-") as directory:
        place = Path(directory) / "data"
        isolation = await probe("auto", place)
        async with open_slot_pool(SlotPoolConfig(slots=slots, data_dir=place), isolation) as pool:
            host = Host(pool=pool, slots=slots, epoch=Epoch(1), isolation={}, **options)
            async with open_sessions(host) as sessions:
                yield sessions


@asynccontextmanager
async def linked(sessions: Sessions, caller: Caller) -> AsyncIterator[Caller]:
    """A caller on a link of its own, which breaks at the end."""
    near, far = open_memory_links()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sessions.serve, far)
        nursery.start_soon(caller.run, near)
        yield caller
        await near.aclose()


def calling(sessions: Sessions, session_id: str = "one") -> AbstractAsyncContextManager[Caller]:
    """A new caller on a link of its own."""
    return linked(sessions, Caller(session_id))


async def test_a_late_release_does_not_touch_the_next_lease() -> None:
    """The slot is the same, the lease is not: what runs under the new one goes on."""
    async with hosting() as sessions, calling(sessions) as caller:
        await caller.heard(Welcome)
        old = await caller.acquire()
        await caller.ask("slot.release", {"reset": True}, lease=old)
        new = await caller.acquire()
        assert (new.slot, new.epoch > old.epoch) == (old.slot, True)
        running = caller.post("bash", {"command": "sleep 0.5; echo done"}, lease=new, limit_s=10)
        again = await caller.ask("slot.release", {"reset": True}, lease=old)
        assert again.provenance is Provenance.OK
        await caller.answered(running)
        assert caller.results[running[0]].payload == b"done\n"


async def test_what_runs_for_a_while_is_said_to_run() -> None:
    """Once. What is over soon is answered by its result alone: a second frame would cost more than it."""
    async with hosting() as sessions, calling(sessions) as caller:
        await caller.heard(Welcome)
        lease = await caller.acquire()
        ids = caller.post("bash", {"command": "sleep 600"}, lease=lease, limit_s=600)
        with trio.fail_after(10):
            assert (await caller.heard(Accepted)).call_id == ids[0]
        assert ids[0] not in caller.results
        caller.cancel(ids[0])
        await caller.answered(ids)
        assert [type(each) for each in caller.events].count(Accepted) == 1


async def test_a_lease_is_worth_nothing_to_another_session() -> None:
    """Guessing a slot and an epoch runs nothing, and releases nothing."""
    async with (
        hosting(slots=2) as sessions,
        calling(sessions, "one") as owner,
        calling(sessions, "two") as thief,
    ):
        await owner.heard(Welcome)
        await thief.heard(Welcome)
        lease = await owner.acquire()
        stolen = await thief.ask("bash", {"command": "touch stolen"}, lease=lease)
        assert stolen.provenance is Provenance.SANDBOX_LOST
        await thief.ask("slot.release", {}, lease=lease)
        listed = await owner.ask("bash", {"command": "ls -A"}, lease=lease, limit_s=10)
        assert (listed.provenance, listed.payload) == (Provenance.OK, b"")


async def test_what_waiting_calls_hold_is_bounded() -> None:
    """Past the bound a call is sent back with a hint, and those behind it with it; those before it run."""
    admission = Admission(Bounds(max_held_bytes=3_000_000))
    async with hosting(admission=admission) as sessions, calling(sessions) as caller:
        await caller.heard(Welcome)
        lease = await caller.acquire()
        ids = [
            caller.post("bash", {"command": "wc -c"}, lease=lease, limit_s=10, payload=b"x" * 1_000_000)
            for _ in range(4)
        ]
        for found in ids:
            await caller.answered(found)
        provenances = [caller.results[found[0]].provenance for found in ids]
        assert provenances.count(Provenance.UNAVAILABLE) in {1, 2}
        assert provenances.count(Provenance.OK) == 4 - provenances.count(Provenance.UNAVAILABLE)
        last = caller.results[ids[-1][0]]
        assert (last.data["busy"], 0 < last.data["retry_after_s"] < 1) == (True, True)
        late = await caller.ask("bash", {"command": "echo late"}, lease=lease, limit_s=10)
        assert late.data["busy"] is True
        after = await caller.ask("bash", {"command": "echo on"}, lease=lease, limit_s=10, again=True)
        assert after.payload == b"on\n"


@pytest.mark.parametrize(
    "session_id", ["", "a\nb", "é", "x" * 129], ids=["empty", "newline", "accent", "long"]
)
async def test_a_session_id_that_cannot_be_printed_is_refused(session_id: str) -> None:
    """It stands in logs and is a key of ours."""
    async with hosting() as sessions, calling(sessions, session_id) as caller:
        error = await caller.heard(Error)
        assert "hello.session_id" in error.message


async def test_unknown_slots_and_operations_are_named() -> None:
    """One line, with the name, made fit to print."""
    async with hosting() as sessions, calling(sessions) as caller:
        await caller.heard(Welcome)
        release = await caller.ask("slot.release", {}, lease=Lease(slot=SlotId("../x"), epoch=1))
        assert (release.provenance, "lease.slot" in release.error) == (Provenance.INVALID_REQUEST, True)
        other = await caller.ask("no\nsuch", {})
        assert (other.provenance, other.error.count("\n")) == (Provenance.UNAVAILABLE, 0)
        bare = await caller.ask("bash", {"command": "true"})
        assert (bare.provenance, "'lease'" in bare.error) == (Provenance.INVALID_REQUEST, True)


async def test_a_draining_daemon_gives_no_new_leases_and_lets_the_old_ones_work() -> None:
    """What is held may finish; what is asked for now is answered, not kept waiting."""
    async with hosting(slots=2) as sessions, calling(sessions) as caller:
        await caller.heard(Welcome)
        lease = await caller.acquire()
        sessions._host.draining.set()
        refused = await caller.ask("slot.acquire", {}, trajectory_id="u")
        assert (refused.provenance, "draining" in refused.error) == (Provenance.UNAVAILABLE, True)
        still = await caller.ask("bash", {"command": "echo on"}, lease=lease, limit_s=10)
        assert still.payload == b"on\n"


async def test_a_command_runs_on_without_a_link_and_its_result_waits() -> None:
    """Once, and the result is the same one: neither lost nor run again."""
    caller = Caller("one")
    async with hosting() as sessions:
        async with linked(sessions, caller):
            await caller.heard(Welcome)
            lease = await caller.acquire()
            ids = caller.post("bash", {"command": "echo ran >> ledger; sleep 0.3"}, lease=lease, limit_s=10)
            await trio.sleep(0.15)
        await trio.sleep(0.5)
        assert ids[0] not in caller.results
        assert repr(sessions) == "<Sessions 0 of 1 linked>"
        async with linked(sessions, caller):
            await caller.answered(ids)
            ledger = await caller.ask("bash", {"command": "cat ledger"}, lease=lease, limit_s=10)
            assert ledger.payload == b"ran\n"
        welcomes = [event for event in caller.events if isinstance(event, Welcome)]
        assert [welcome.resumed for welcome in welcomes] == [False, True]


async def test_a_session_that_stays_away_loses_its_slots_and_is_told() -> None:
    """Killed, wiped, free for somebody else; what comes back under its id begins afresh."""
    caller = Caller("one")
    async with hosting(lease_grace_s=0.5) as sessions:
        async with linked(sessions, caller):
            await caller.heard(Welcome)
            lease = await caller.acquire()
            ids = caller.post("bash", {"command": "touch left; sleep 86397"}, lease=lease, limit_s=600)
            await trio.sleep(0.2)
        async with calling(sessions, "two") as other:
            await other.heard(Welcome)
            with trio.fail_after(5):
                taken = await other.acquire()
            assert (taken.slot, taken.epoch > lease.epoch) == (lease.slot, True)
            listed = await other.ask("bash", {"command": "ls -A"}, lease=taken, limit_s=10)
            assert listed.payload == b""
            assert len(sessions) == 1
            async with linked(sessions, caller):
                reset = await caller.heard(SessionReset)
                assert reset.calls == (ids[0],)
                late = await caller.ask("bash", {"command": "touch late"}, lease=lease, limit_s=10)
                assert late.provenance is Provenance.SANDBOX_LOST


async def test_a_new_link_supersedes_the_old_one() -> None:
    """The executor may know of a loss before the daemon does."""
    caller = Caller("one")
    near, far = open_memory_links()
    async with hosting() as sessions, trio.open_nursery() as nursery:
        nursery.start_soon(sessions.serve, far)
        async with trio.open_nursery() as ours:
            ours.start_soon(caller.run, near)
            await caller.heard(Welcome)
            lease = await caller.acquire()
            ours.cancel_scope.cancel()  # and nobody tells the daemon
        async with linked(sessions, caller):
            again = await caller.ask("bash", {"command": "echo on"}, lease=lease, limit_s=10)
            assert again.payload == b"on\n"
            assert repr(sessions) == "<Sessions 1 of 1 linked>"


async def test_there_is_room_for_so_many_sessions() -> None:
    """One more is told to come again later."""
    async with hosting(max_sessions=1) as sessions, calling(sessions) as first:
        await first.heard(Welcome)
        async with calling(sessions, "two") as second:
            error = await second.heard(Error)
            assert error.code is ErrorCode.BUSY


async def test_a_drain_lets_calls_finish_and_ends_the_rest_typed() -> None:
    """The short one has its result, the long one is told, the one that waits for a slot waits elsewhere."""
    async with hosting(slots=2) as sessions, calling(sessions) as caller:
        await caller.heard(Welcome)
        short, long = [
            caller.post(
                "bash", {"command": f"echo on; sleep {nap}"}, lease=await caller.acquire(), limit_s=60
            )
            for nap in (0.3, 50)
        ]
        waiting = caller.post("slot.acquire", {}, trajectory_id="u")
        await trio.sleep(0.1)
        await sessions.drain(1.0)
        await caller.heard(Goodbye)
        ends = [caller.results[ids[0]].provenance for ids in (short, long, waiting)]
        assert ends == [Provenance.OK, Provenance.SANDBOX_LOST, Provenance.UNAVAILABLE]
        assert (await caller.heard(Drain)).grace_s == 1.0
