"""Listings, downloads and archives of a hostile workspace. Items 25, 26, 34 to 36, 38 to 40."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import tarfile
from collections.abc import Callable
from typing import Any

import pytest
import trio

from hermes_trio.errors import Provenance
from hermes_trio.wire.listing import EntryKind, ListedEntry, unpack_entries
from hermes_trio.wire.operations import DownloadArguments, ListArguments, Packing
from sandbox_daemon.slots.pool import Outcome

pytestmark = [pytest.mark.bubblewrap, pytest.mark.slow, pytest.mark.hostile]

DENIED = "Access denied: path outside workspace"


class Basket:
    """A sink that keeps everything."""

    def __init__(self) -> None:
        self.resume: Callable[[], None] = bool
        self.data = bytearray()

    def feed(self, stream: int, data: memoryview) -> bool:
        """Takes all of it."""
        assert stream == 3
        self.data += data
        return True


async def download(
    slots: Any, path: str = "", *, limit_s: float = 20.0, **more: Any
) -> tuple[Outcome, bytes]:
    """What came of a path of the attacked slot."""
    basket = Basket()
    arguments = DownloadArguments(path=path, **more)
    outcome = await slots.pool.download(slots.lease, arguments, limit_s=limit_s, sink=basket)
    if outcome.provenance is Provenance.OK:
        assert outcome.data["sent_bytes"] == len(basket.data)
        assert outcome.data["sent_sha256"] == hashlib.sha256(basket.data).hexdigest()
    return outcome, bytes(basket.data)


async def listed(slots: Any, path: str = ".", **more: Any) -> tuple[Outcome, tuple[ListedEntry, ...]]:
    """One page of a folder of the attacked slot."""
    arguments = ListArguments(path=path, **more)
    outcome = await slots.pool.list_files(slots.lease, arguments, limit_s=20.0)
    return outcome, unpack_entries(outcome.payload)


async def packed(slots: Any, path: str = ".", **more: Any) -> tuple[Outcome, dict[str, tarfile.TarInfo]]:
    """An archive of a folder of the attacked slot."""
    outcome, data = await download(slots, path, packing=Packing.TAR_GZ, **more)
    if outcome.provenance is not Provenance.OK:
        return outcome, {}
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return outcome, {member.name: member for member in archive}


@pytest.mark.parametrize(
    "path", ["../slot_1/x", "/etc/passwd", "/etc/no-such-file", "/", "..", "out", "out/passwd", "environ"]
)
async def test_nothing_outside_is_listed_packed_or_sent(slots, path: str) -> None:
    """One answer whether it exists or not, and no byte of it."""
    await slots.bash("ln -s /etc out; ln -s /proc/self/environ environ; mkdir d; ln -s /etc/passwd d/link")
    outcome, data = await download(slots, path)
    assert (outcome.error, outcome.data, data) == (DENIED, {"reason": "denied"}, b"")
    for outcome, found in (await listed(slots, path), await packed(slots, path)):
        assert (outcome.provenance, outcome.error, len(found)) == (Provenance.DENIED, DENIED, 0)


async def test_links_in_a_tree_are_told_and_not_followed(slots) -> None:
    """A listing shows them as links, an archive holds them as links."""
    await slots.bash("mkdir d; ln -s /etc d/etc; ln -s /etc/passwd d/passwd; ln -s nowhere d/nowhere")
    _, entries = await listed(slots, "d", recursive=True)
    assert {(entry.path, entry.kind) for entry in entries} == {
        (name, EntryKind.LINK) for name in (b"d/etc", b"d/passwd", b"d/nowhere")
    }
    _, members = await packed(slots, "d")
    assert {name: member.linkname for name, member in members.items()} == {
        "etc": "/etc",
        "passwd": "/etc/passwd",
        "nowhere": "nowhere",
    }


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        ("mkfifo thing", "not_regular"),
        ("mkdir thing", "not_regular"),
        ("python3 -c 'import socket; socket.socket(1).bind(\"thing\")'", "not_regular"),
        ("true", "not_found"),
        ("touch thing; chmod 0 thing", "other"),
    ],
)
async def test_only_what_can_be_read_is_sent(slots, make: str, reason: str) -> None:
    """A FIFO keeps nobody waiting."""
    await slots.bash(make)
    with trio.fail_after(5):
        outcome, data = await download(slots, "thing")
    assert (outcome.provenance, outcome.data, data) == (Provenance.TOOL_ERROR, {"reason": reason}, b"")


async def test_an_archive_keeps_what_it_can_and_names_the_rest(slots) -> None:
    """Links of both kinds, empty folders, modes and times; not FIFOs, nor what may not be read."""
    await slots.bash(
        "mkdir -p t/empty t/shut; echo hi > t/file; ln t/file t/hard; ln -s file t/soft; mkfifo t/fifo;"
        "echo secret > t/closed; chmod 0 t/closed; chmod 750 t/file;"
        "touch -d '2001-02-03 04:05:06.5Z' t/file;"
        "echo deep > t/shut/deep; chmod 0 t/shut"
    )
    outcome, members = await packed(slots, "t")
    assert set(members) == {"empty", "file", "hard", "soft", "shut"}
    assert (outcome.data["entries"], outcome.data["skipped_count"]) == (5, 3)
    skipped = {bytes.fromhex(path): why for path, why in outcome.data["skipped"]}
    assert skipped == {
        b"t/fifo": "not a file, folder or link",
        b"t/closed": "permission denied",
        b"t/shut": "permission denied",
    }
    assert (members["hard"].type, members["hard"].linkname) == (tarfile.LNKTYPE, "file")
    assert (members["soft"].type, members["soft"].linkname) == (tarfile.SYMTYPE, "file")
    assert members["empty"].isdir()
    assert (stat.S_IMODE(members["file"].mode), members["file"].mtime) == (0o750, 981173106.5)


async def test_any_name_is_listed_and_read_back_by_its_bytes(slots) -> None:
    """Newline, a byte that is no text, leading dash and space, 255 bytes."""
    names = [b".hidden", b" space", b"-dash", b"new\nline", b"\xff\xfe", b"x" * 255, "ü".encode()]
    for name in names:
        (slots.workspace / os.fsdecode(name)).write_bytes(name)
    _, entries = await listed(slots)
    assert [entry.path for entry in entries] == sorted(names)
    for name in names:
        outcome, data = await download(slots, path_hex=name.hex())
        assert (outcome.error, data) == ("", name)
    _, members = await packed(slots)
    assert {os.fsencode(name) for name in members} == set(names)


async def test_a_large_folder_comes_in_pages(slots) -> None:
    """Each entry once, in order, however small the pages are and whatever lies deeper."""
    code = (
        "import os\n"
        "for i in range(40):\n"
        "    os.makedirs(f'd/{i:02}/sub')\n"
        "    for j in range(50): open(f'd/{i:02}/sub/{j}', 'w').close()\n"
    )
    await slots.write("make.py", code.encode())
    await slots.bash("python3 make.py; rm make.py")
    _, whole = await listed(slots, recursive=True)
    assert len(whole) == 1 + 40 * 52
    pages: list[ListedEntry] = []
    truncated = True
    while truncated:
        after = pages[-1].path.hex() if pages else ""
        outcome, page = await listed(slots, recursive=True, max_entries=400, after_hex=after)
        truncated = outcome.data["truncated"]
        assert len(page) == 400 or not truncated
        pages += page
    assert tuple(pages) == whole


async def test_too_much_for_an_archive_is_said(slots) -> None:
    """By entries, by its own size, by the size of what it would hold."""
    await slots.bash("mkdir t; for i in $(seq 20); do head -c 1000 /dev/urandom > t/$i; done")
    outcome, _ = await packed(slots, "t", max_entries=19)
    assert outcome.data == {"reason": "too_many"}
    outcome, _ = await packed(slots, "t", max_bytes=10_000)
    assert outcome.data == {"reason": "too_large"}
    outcome, _ = await packed(slots, "t", max_content_bytes=10_000)
    assert outcome.data == {"reason": "too_large"}
    outcome, members = await packed(slots, "t", max_entries=20, max_content_bytes=20_000)
    assert len(members) == 20


async def test_a_sparse_terabyte_is_read_by_range_and_not_packed(limited) -> None:
    """It takes no longer than anything else: nobody looks for its bytes."""
    async with limited(max_file_bytes=0) as slots:
        assert (await slots.bash("truncate -s 1T giant")).error == ""
        outcome, data = await download(slots, "giant", offset=1 << 39, max_bytes=200_000)
        assert (data, outcome.data["file_bytes"]) == (bytes(200_000), 1 << 40)
        with trio.fail_after(5):
            outcome, _ = await packed(slots)
        assert outcome.data == {"reason": "too_large"}
        outcome, _ = await download(slots, "giant", sha256=True, max_bytes=10, limit_s=0.5)
        assert outcome.provenance is Provenance.LIMIT_EXCEEDED


@pytest.mark.parametrize("size", [0, 1, 131_072, 131_073, 20 * 1024 * 1024 + 1])
async def test_every_size_is_sent_exactly(slots, size: int) -> None:
    """Inside a message or through a descriptor, whole and in part."""
    content = os.urandom(size)
    (slots.workspace / "f").write_bytes(content)
    outcome, data = await download(slots, "f", sha256=True)
    assert data == content
    assert outcome.data["sha256"] == hashlib.sha256(content).hexdigest()
    outcome, data = await download(slots, "f", offset=size // 2, max_bytes=1000, sha256=True)
    assert data == content[size // 2 :][:1000]
    assert outcome.data["sha256"] == hashlib.sha256(content).hexdigest()
    outcome, data = await download(slots, "f", offset=size + 1)
    assert (outcome.provenance, data) == (Provenance.OK, b"")


async def test_a_race_of_swapped_folders_lists_and_packs_nothing_foreign(slots) -> None:
    """A folder of the walk is opened beneath the one above it, never by a path that was looked at before."""
    await slots.bash("mkdir -p t/real; echo inside > t/real/hostname; ln -s /etc t/outside")
    stop = trio.Event()

    def swap() -> None:
        at, new = slots.workspace / "t/at", slots.workspace / "t/new"
        while not stop.is_set():
            new.symlink_to("/etc")
            new.rename(at)
            at.unlink()
            new.mkdir()
            (new / "hostname").write_text("inside\n")
            new.rename(at)
            (at / "hostname").unlink()
            at.rmdir()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, swap)
        names: set[bytes] = set()
        deadline = trio.current_time() + 1.5
        while trio.current_time() < deadline:
            _, entries = await listed(slots, "t", recursive=True)
            names |= {entry.path for entry in entries}
            outcome, data = await download(slots, "t", packing=Packing.TAR)
            assert outcome.provenance is Provenance.OK
            assert b"root:" not in data
        stop.set()
    assert names <= {b"t/at", b"t/new", b"t/at/hostname", b"t/new/hostname"} | {
        b"t/outside",
        b"t/real",
        b"t/real/hostname",
    }


async def test_a_worker_that_is_killed_is_the_slots_own_doing(slots, monkeypatch: pytest.MonkeyPatch) -> None:
    """Typed, and the next one works. A worker that never ends is ended by its limit."""
    monkeypatch.setattr("sandbox_daemon.files.worker.WORKER_BOOT", "import os; os.kill(os.getpid(), 9)")
    outcome, _ = await listed(slots)
    assert (outcome.provenance, outcome.error) == (
        Provenance.TOOL_ERROR,
        "The slot ended the work on its files (wait status 9)",
    )
    monkeypatch.setattr("sandbox_daemon.files.worker.WORKER_BOOT", "while True: pass")
    outcome = await slots.pool.list_files(slots.lease, ListArguments(path="."), limit_s=0.3)
    assert (outcome.provenance, outcome.error) == (Provenance.LIMIT_EXCEEDED, "It took longer than 0.3 s")
    monkeypatch.setattr("sandbox_daemon.files.worker.WORKER_BOOT", "import sys; sys.exit('what?')")
    outcome, _ = await listed(slots)
    assert outcome.provenance is Provenance.TOOL_ERROR
    monkeypatch.undo()
    assert (await listed(slots))[0].provenance is Provenance.OK


async def test_nothing_is_left_when_a_download_is_given_up(slots) -> None:
    """By a cancel, and by a release of the slot under it."""

    class Stuck(Basket):
        """Nobody takes what comes."""

        def feed(self, stream: int, data: memoryview) -> bool:
            """No room, ever."""
            return False

    await slots.bash("head -c 3000000 /dev/urandom > big")
    for packing in (Packing.FILE, Packing.TAR):
        arguments = DownloadArguments(path="big" if packing is Packing.FILE else ".", packing=packing)
        with trio.move_on_after(0.2) as scope:
            await slots.pool.download(slots.lease, arguments, sink=Stuck())
        assert scope.cancelled_caught
    assert slots.strays() == {}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(slots.pool.download, slots.lease, DownloadArguments(path="big"))
        basket = Stuck()
        nursery.start_soon(_download_into, slots, basket)
        await trio.sleep(0.1)
        await slots.pool.release(slots.lease)
    slots.lease = await slots.pool.acquire(owner="test", trajectory_id="again")


async def _download_into(slots: Any, basket: Basket) -> None:
    outcome = await slots.pool.download(slots.lease, DownloadArguments(path="big"), sink=basket)
    assert outcome.provenance is Provenance.CANCELLED
