"""Archives made by hand: nothing leads out of the slot, and the slot is as a reset leaves it."""

# ruff: noqa: ASYNC240 - a test may look at files as it likes

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator, Callable
from hashlib import sha256
from pathlib import Path

import pytest
import trio
from attrs import evolve

from hermes_trio.errors import InvalidInputError, UnavailableError
from hermes_trio.wire.frames import Lease
from hermes_trio.wire.operations import BashArguments
from sandbox_daemon.agent import members
from sandbox_daemon.agent.members import Member, pack_head, padding
from sandbox_daemon.isolation.levels import Isolation
from sandbox_daemon.isolation.policy import SlotLimits
from sandbox_daemon.process.outcome import AgentStartError, Outcome
from sandbox_daemon.slots.archiving import Archived
from sandbox_daemon.slots.cell import Cell
from sandbox_daemon.slots.pool import SlotPool, SlotPoolConfig, open_slot_pool
from sandbox_daemon.workspaces.archive import ArchiveWriter
from sandbox_daemon.workspaces.packing import Packing

pytestmark = [pytest.mark.bubblewrap, pytest.mark.slow]

LIMITS = SlotLimits(disk_bytes=64 << 20, max_files=4000)


@pytest.fixture(params=["layers", "copies"])
async def pool(
    request: pytest.FixtureRequest, probe_isolation: Isolation, tmp_path: Path
) -> AsyncIterator[SlotPool]:
    """Two small slots, whose workspaces lie on layers or are copied."""
    isolation = probe_isolation
    if request.param == "copies":
        isolation = evolve(isolation, layers=False)
    elif not isolation.layers:
        pytest.skip("needs overlayfs")
    config = SlotPoolConfig(slots=2, data_dir=tmp_path / "data", limits=LIMITS)
    async with open_slot_pool(config, isolation) as opened:
        yield opened


class Pieces:
    """An archive on its way in."""

    def __init__(self, data: bytes, *, size: int = 65536, digest: bytes | None = None) -> None:
        data += sha256(data).digest() if digest is None else digest
        self._pieces = [data[start : start + size] for start in range(0, len(data), size)]

    async def receive(self) -> bytes:
        """The next. Cancellation: atomic."""
        await trio.lowlevel.checkpoint()
        return self._pieces.pop(0) if self._pieces else b""


class Sinking:
    """An archive on its way out."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.resume: Callable[[], None] = lambda: None

    def feed(self, stream: int, data: memoryview | bytes) -> bool:
        """There is always room."""
        self.data += data
        return True


def tar_of(*what: Member, content: bytes = b"") -> bytes:
    """A tar file whose files all have this content."""
    out = b""
    for member in what:
        if member.kind == members.FILE:
            member.size = len(content)
            out += pack_head(member) + content + padding(len(content))
        else:
            out += pack_head(member)
    return out + members.END


def archive_of(tar: bytes) -> bytes:
    """An archive."""
    writer = ArchiveWriter(None)
    return writer.begin() + writer.feed(tar) + writer.finish()


def file(name: bytes) -> Member:
    """A file."""
    return Member(members.FILE, name, mode=0o644)


def link(name: bytes, target: bytes) -> Member:
    """A symbolic link."""
    return Member(members.LINK, name, target=target)


async def run(pool: SlotPool, lease: Lease, command: str) -> str:
    """What a command prints, both streams."""
    outcome = await pool.bash(lease, BashArguments(command=command), limit_s=60.0)
    return outcome.payload.decode("utf-8", "replace") + outcome.error


async def restore(pool: SlotPool, lease: Lease, data: bytes) -> Archived | Outcome:
    """Put an archive into a slot."""
    return await pool.restore(lease, limit_s=60.0, source=Pieces(data))


OUT = str(os.getpid()).encode()
DEEP = b"d/" * 300 + b"d"
HOSTILE: dict[str, tuple[bytes, str]] = {
    "an absolute path": (tar_of(file(b"/etc/x")), "leads out"),
    "a path above": (tar_of(file(b"../x")), "leads out"),
    "through a link": (tar_of(link(b"d", b"/tmp"), file(b"d/" + OUT)), "cannot be made"),
    "through a link above": (tar_of(link(b"d", b".."), file(b"d/x")), "cannot be made"),
    "a hard link to what is outside": (
        tar_of(link(b"d", b"/etc"), Member(members.HARD, b"p", target=b"d/passwd")),
        "cannot be made",
    ),
    "a hard link to nothing": (tar_of(Member(members.HARD, b"p", target=b"q")), "cannot be made"),
    "a device": (
        tar_of(file(b"f")).replace(b"ustar\x0000", b"ustar\x0001"),
        "no tar archive of ours",
    ),
    "a root that is a file": (tar_of(file(b".")), "no folder"),
    "a name that is too long": (tar_of(file(b"n" * 300)), "cannot be made"),
    "a folder that is not there": (tar_of(file(b"a/b")), "cannot be made"),
    "a file as a folder": (tar_of(file(b"a"), file(b"a/b")), "cannot be made"),
    "deep": (tar_of(Member(members.FOLDER, DEEP)), "cannot be made"),
    "no tar": (b"hello" * 1000, "no tar archive"),
    "half a tar": (tar_of(file(b"f"), content=b"x" * 5000)[:3000], "middle"),
    "giant records": (
        members._header(b"x", b"r", size=1 << 33) + bytes(1 << 20),
        "records of a member",
    ),
}


async def test_a_hostile_archive_is_refused_and_the_slot_is_clean(pool: SlotPool) -> None:
    """With an error that says why. What stood there before is gone, and nothing of the archive is there."""
    lease = await pool.acquire(owner="test", trajectory_id="one")
    for name, (tar, why) in HOSTILE.items():
        await run(pool, lease, "echo x > before")
        with pytest.raises(InvalidInputError, match=why):
            await restore(pool, lease, archive_of(tar))
        assert await run(pool, lease, "ls -A; ls /tmp") == "", name
    assert not Path(f"/tmp/{OUT.decode()}").exists()
    assert pool.statistics().quarantined == 0


async def test_what_is_no_archive_changes_nothing(pool: SlotPool) -> None:
    """What is wrong at its beginning is seen before anything is touched."""
    lease = await pool.acquire(owner="test", trajectory_id="one")
    await run(pool, lease, "echo x > before")
    for data in (b"", b"x" * 10, b"PK\x03\x04" * 100, archive_of(tar_of())[:20]):
        with pytest.raises(InvalidInputError, match="not an archive that can be restored"):
            await restore(pool, lease, data)
        assert await run(pool, lease, "ls -A") == "before\n"


async def test_an_archive_that_is_not_whole_leaves_nothing(pool: SlotPool) -> None:
    """Cut off, changed on the way, or changed where it lay."""
    lease = await pool.acquire(owner="test", trajectory_id="one")
    whole = archive_of(tar_of(file(b"f"), content=os.urandom(200_000)))
    changed = bytearray(whole)
    changed[100_000] ^= 1
    for data, digest, why in (
        (whole[:100_000], None, "ends before its end"),
        (whole[:-1], None, "ends before its end"),
        (whole, b"x" * 32, "not what was sent"),
        (whole, b"", "ends before its end"),
        (bytes(changed), None, "SHA-256"),
        (whole + b"x", None, "something else follows"),
    ):
        await run(pool, lease, "echo x > before")
        with pytest.raises(InvalidInputError, match=why):
            await pool.restore(lease, limit_s=60.0, source=Pieces(data, digest=digest))
        assert await run(pool, lease, "ls -A") == ""
    assert isinstance(await restore(pool, lease, whole), Archived)
    assert await run(pool, lease, "wc -c < f") == "200000\n"


def _bomb(tar: Callable[[], list[bytes]]) -> bytes:
    writer = ArchiveWriter(None)
    return writer.begin() + b"".join(map(writer.feed, tar())) + writer.finish()


def _gigabyte() -> list[bytes]:
    megabyte = bytes(1 << 20)
    return [pack_head(Member(members.FILE, b"f", mode=0o644, size=1 << 30)), *[megabyte] * 1024, members.END]


def _files() -> list[bytes]:
    return [*(pack_head(Member(members.FILE, b"f%d" % i, mode=0o644)) for i in range(6000)), members.END]


def _holes() -> list[bytes]:
    return [pack_head(Member(members.FILE, b"f", mode=0o644, size=1 << 40, ranges=[])), members.END]


@pytest.mark.parametrize("bomb", [_gigabyte, _files, _holes])
async def test_a_bomb_is_stopped_by_the_slots_limits(pool: SlotPool, bomb: Callable[[], list[bytes]]) -> None:
    """A gigabyte of nothing in 30 KB, more files than may be, a file of a terabyte: nothing is left."""
    lease = await pool.acquire(owner="test", trajectory_id="one")
    data = _bomb(bomb)
    assert len(data) < 1 << 19
    with pytest.raises(UnavailableError, match="could not be restored"):
        await restore(pool, lease, data)
    assert await run(pool, lease, "ls -A; echo ok > f; cat f") == "ok\n"


async def test_a_slot_without_an_agent_after_a_restore_is_quarantined(
    pool: SlotPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not handed out; its holder is told."""
    lease = await pool.acquire(owner="test", trajectory_id="one")

    async def refuse(_cell: Cell, **_: object) -> None:
        await trio.lowlevel.checkpoint()
        raise AgentStartError("no")

    monkeypatch.setattr(Cell, "renew", refuse)
    with pytest.raises(UnavailableError, match="could not be reset: no"):
        await restore(pool, lease, archive_of(tar_of()))
    assert pool.is_quarantined(lease.slot)
    monkeypatch.undo()


async def test_a_snapshot_that_cannot_be_read_says_so(
    pool: SlotPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And leaves the workspace as it was."""
    lease = await pool.acquire(owner="test", trajectory_id="one")
    await run(pool, lease, "echo x > f")

    def fail(_packing: Packing) -> bytes:
        raise OSError(errno.EIO, "the disk is broken")

    monkeypatch.setattr(Packing, "piece", fail)
    with pytest.raises(UnavailableError, match=r"could not be packed: .*the disk is broken"):
        await pool.snapshot(lease, limit_s=60.0, sink=Sinking())
    monkeypatch.undo()
    assert await run(pool, lease, "cat f") == "x\n"


async def test_attributes_travel(pool: SlotPool) -> None:
    """Those of users, of files and folders, where the file system has them."""
    lease = await pool.acquire(owner="test", trajectory_id="one")
    make = "import os; os.mkdir('d'); open('f', 'w'); os.setxattr('f', 'user.x', b'\\0\\n=');"
    make += "os.setxattr('d', 'user.y', b''); os.setxattr('.', 'user.z', b'root')"
    show = (
        "import os; print([(p, os.listxattr(p), os.getxattr(p, 'user.x') if p == 'f' else 0) for p in 'fd.'])"
    )
    assert await run(pool, lease, f'python3 -c "{make}"') == ""
    before = await run(pool, lease, f'python3 -c "{show}"')
    assert "user.x" in before
    sink = Sinking()
    await pool.snapshot(lease, limit_s=60.0, sink=sink)
    other = await pool.acquire(owner="test", trajectory_id="two")
    await restore(pool, other, bytes(sink.data))
    assert await run(pool, other, f'python3 -c "{show}"') == before
