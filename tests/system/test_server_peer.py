"""The server's side of a session, spoken to in frames: what no executor of ours would say."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from hermes_trio.errors import BrokenLinkError, Provenance
from hermes_trio.link.message import MessageLink
from hermes_trio.link.pump import Pump
from hermes_trio.testing.links import open_memory_links
from hermes_trio.wire.frames import CallId, Epoch, Error, Lease, Limits, Result, SessionId, SlotId, Welcome
from hermes_trio.wire.session import Event, Session
from sandbox_daemon.isolation.probe import probe
from sandbox_daemon.server import peer as peer_module
from sandbox_daemon.server.peer import Host, serve_peer
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
        with pytest.raises(BrokenLinkError):
            await self._pump.run(link)

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
async def hosting(slots: int = 1) -> AsyncIterator[Host]:
    """A real pool behind a host, without a socket."""
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="peer-test-") as directory:
        place = Path(directory) / "data"
        isolation = await probe("auto", place)
        async with open_slot_pool(SlotPoolConfig(slots=slots, data_dir=place), isolation) as pool:
            yield Host(pool=pool, slots=slots, epoch=Epoch(1), isolation={})


@asynccontextmanager
async def calling(host: Host, session_id: str = "one") -> AsyncIterator[Caller]:
    """A caller on a link of its own."""
    caller = Caller(session_id)
    near, far = open_memory_links()
    async with trio.open_nursery() as nursery:

        async def serve() -> None:
            await serve_peer(far, host=host)

        nursery.start_soon(serve)
        nursery.start_soon(caller.run, near)
        yield caller
        await near.aclose()


async def test_a_late_release_does_not_touch_the_next_lease() -> None:
    """The slot is the same, the lease is not: what runs under the new one goes on."""
    async with hosting() as host, calling(host) as caller:
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


async def test_a_lease_is_worth_nothing_to_another_session() -> None:
    """Guessing a slot and an epoch runs nothing, and releases nothing."""
    async with hosting(slots=2) as host, calling(host, "one") as owner, calling(host, "two") as thief:
        await owner.heard(Welcome)
        await thief.heard(Welcome)
        lease = await owner.acquire()
        stolen = await thief.ask("bash", {"command": "touch stolen"}, lease=lease)
        assert stolen.provenance is Provenance.SANDBOX_LOST
        await thief.ask("slot.release", {}, lease=lease)
        listed = await owner.ask("bash", {"command": "ls -A"}, lease=lease, limit_s=10)
        assert (listed.provenance, listed.payload) == (Provenance.OK, b"")


async def test_what_waiting_calls_hold_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Past the bound a call is answered at once; those before it run."""
    monkeypatch.setattr(peer_module, "MAX_HELD_BYTES", 3_000_000)
    async with hosting() as host, calling(host) as caller:
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
        after = await caller.ask("bash", {"command": "echo on"}, lease=lease, limit_s=10)
        assert after.payload == b"on\n"


@pytest.mark.parametrize(
    "session_id", ["", "a\nb", "é", "x" * 129], ids=["empty", "newline", "accent", "long"]
)
async def test_a_session_id_that_cannot_be_printed_is_refused(session_id: str) -> None:
    """It stands in logs and is a key of ours."""
    async with hosting() as host, calling(host, session_id) as caller:
        error = await caller.heard(Error)
        assert "hello.session_id" in error.message


async def test_unknown_slots_and_operations_are_named() -> None:
    """One line, with the name, made fit to print."""
    async with hosting() as host, calling(host) as caller:
        await caller.heard(Welcome)
        release = await caller.ask("slot.release", {}, lease=Lease(slot=SlotId("../x"), epoch=1))
        assert (release.provenance, "lease.slot" in release.error) == (Provenance.INVALID_REQUEST, True)
        other = await caller.ask("no\nsuch", {})
        assert (other.provenance, other.error.count("\n")) == (Provenance.UNAVAILABLE, 0)
        bare = await caller.ask("bash", {"command": "true"})
        assert (bare.provenance, "'lease'" in bare.error) == (Provenance.INVALID_REQUEST, True)


async def test_a_draining_daemon_gives_no_new_leases_and_lets_the_old_ones_work() -> None:
    """What is held may finish; what is asked for now is answered, not kept waiting."""
    async with hosting(slots=2) as host, calling(host) as caller:
        await caller.heard(Welcome)
        lease = await caller.acquire()
        host.draining.set()
        refused = await caller.ask("slot.acquire", {}, trajectory_id="u")
        assert (refused.provenance, "draining" in refused.error) == (Provenance.UNAVAILABLE, True)
        still = await caller.ask("bash", {"command": "echo on"}, lease=lease, limit_s=10)
        assert still.payload == b"on\n"
