"""Files and trees of any size, through a real daemon and a real link. Items 24, 34, 36 to 40."""

# ruff: noqa: ASYNC240 - a test may look at files as it likes

from __future__ import annotations

import hashlib
import os
import re
import stat
import tarfile
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

import hermes_trio as ht
from hermes_trio.errors import InvalidInputError, Provenance
from hermes_trio.executor.executor import Executor
from hermes_trio.testing.chaos_proxy import ProxiedBackend, open_chaos_proxy

pytestmark = [pytest.mark.bubblewrap, pytest.mark.slow]

MIB = 1024 * 1024


async def bash(executor: Executor, command: str) -> str:
    """What a command of the trajectory printed."""
    return (await executor.execute("t", ht.ToolCall("bash", {"command": command}))).output


@pytest.fixture
async def executor(request: pytest.FixtureRequest) -> AsyncIterator[Executor]:
    """One with a slot for trajectory ``t``."""
    more: dict[str, Any] = getattr(request, "param", {})
    async with ht.open_local_backend(slots=2, **more) as backend, ht.open_executor(backend) as made:
        await bash(made, "true")
        yield made


def fill(path: Path, size: int) -> str:
    """A file of random bytes; its digest."""
    content = os.urandom(size)
    path.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


async def test_a_file_goes_up_and_comes_back(executor: Executor, tmp_path: Path) -> None:
    """Exactly, at every size around the digest and the chunks; parents are made."""
    for size in (0, 1, 31, 32, 33, 65_536, 65_537, 1 * MIB, 24 * MIB + 7):
        digest = fill(tmp_path / "up", size)
        up = await executor.upload("t", tmp_path / "up", f"d/{size}/f", mode=0o750)
        assert (up.success, up.size, up.sent_bytes, up.sha256) == (True, size, size, digest)
        command = f"cd d/{size}; sha256sum < f; stat -c '%s %a' f; ls -A"
        assert await bash(executor, command) == f"{digest}  -\n{size} 750\nf"
        down = await executor.download("t", f"d/{size}/f", tmp_path / "down")
        assert (down.success, down.size, down.sha256) == (True, size, digest)
        assert (tmp_path / "down").read_bytes() == (tmp_path / "up").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"up", "down"}


async def test_a_file_is_replaced_in_one_step(executor: Executor, tmp_path: Path) -> None:
    """Whoever has it open sees the old one; its mode stays; links that stay inside are followed."""
    await bash(executor, "echo old > real; chmod 700 real; ln real other; ln -s real link")
    (tmp_path / "f").write_bytes(b"new\n")
    assert (await executor.upload("t", tmp_path / "f", "link")).success
    assert await bash(executor, "cat real other; readlink link; stat -c %a real") == "new\nold\nreal\n700"


async def test_a_tree_goes_up_and_comes_back(executor: Executor, tmp_path: Path) -> None:
    """Modes, times, links of both kinds, empty folders, names that are no text; not FIFOs."""
    tree = tmp_path / "tree"
    (tree / "a/empty").mkdir(parents=True)
    (tree / "a/f").write_bytes(b"content")
    (tree / "a/f").chmod(0o750)
    os.utime(tree / "a/f", (10**9, 10**9))
    os.link(tree / "a/f", tree / "hard")
    (tree / "soft").symlink_to("a/f")
    os.close(os.open(os.fsencode(tree) + b"/\xff\n", os.O_CREAT | os.O_WRONLY))
    os.mkfifo(tree / "fifo")
    up = await executor.upload("t", tree, "up")
    assert (up.success, up.entries, up.skipped) == (True, 7, {"fifo": "not a file, folder or link"})
    assert await bash(executor, "cd up; cat hard soft; stat -c '%a %Y %h' a/f; find . -printf x | wc -c") == (
        "contentcontent750 1000000000 2\n7"
    )
    down = await executor.download("t", "up", tmp_path / "down")
    assert (down.success, down.entries) == (True, 6)
    back = tmp_path / "down"
    assert (back / "a/f").read_bytes() == b"content"
    assert (back / "hard").stat().st_ino == (back / "a/f").stat().st_ino
    assert (back / "soft").readlink() == Path("a/f")
    assert stat.S_IMODE((back / "a/f").stat().st_mode) == 0o750
    assert (back / "a/f").stat().st_mtime == 10**9
    assert set(os.listdir(os.fsencode(back))) == {b"a", b"hard", b"soft", b"\xff\n"}
    assert (back / "a/empty").is_dir()


async def test_a_tree_from_a_slot_does_not_lead_out_of_its_folder(executor: Executor, tmp_path: Path) -> None:
    """It was packed by whoever had the slot."""
    await bash(
        executor,
        "mkdir t; ln -s /etc/passwd t/abs; ln -s ../../x t/up; echo fine > t/fine; chmod 4777 t/fine",
    )
    down = await executor.download("t", "t", tmp_path / "down")
    assert down.success
    assert set(down.skipped) == {"abs", "up"}
    assert os.listdir(tmp_path / "down") == ["fine"]
    assert stat.S_IMODE((tmp_path / "down/fine").stat().st_mode) == 0o755


async def test_an_archive_that_leads_out_is_unpacked_without_what_does(
    executor: Executor, tmp_path: Path
) -> None:
    """Names, hard links, and links that the archive itself has put there before."""
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "out").symlink_to("/tmp")
    await bash(executor, "mkdir up; ln -s /tmp up/planted")
    (tree / "planted").mkdir()
    (tree / "planted/f").write_bytes(b"x")
    up = await executor.upload("t", tree, "up")
    assert up.success
    assert set(up.skipped) == {"planted", "planted/f"}
    assert await bash(executor, "ls /tmp; readlink up/out") == "/tmp"


async def test_nothing_is_uploaded_to_where_no_file_can_be(executor: Executor, tmp_path: Path) -> None:
    """And nothing is left of it."""
    await bash(executor, "ln -s /tmp link; mkfifo fifo; mkdir folder")
    fill(tmp_path / "f", 3 * MIB)
    for path in ("/etc/x", "../x", "link/x", "fifo", "folder"):
        with trio.fail_after(20):
            up = await executor.upload("t", tmp_path / "f", path)
        assert up.success is False
        assert up.reason in ("denied", "not_regular")
    with pytest.raises(InvalidInputError, match="path"):
        await executor.upload("t", tmp_path / "f", "")
    assert await bash(executor, "ls -A; ls -A folder /tmp") == "fifo\nfolder\nlink\n/tmp:\n\nfolder:"


async def test_what_cannot_be_fetched_leaves_nothing_here(executor: Executor, tmp_path: Path) -> None:
    """A value, with a reason."""
    await bash(executor, "mkfifo fifo; ln -s /etc/passwd out")
    for path, reason in (("missing", "not_found"), ("fifo", "not_regular"), ("out", "denied")):
        down = await executor.download("t", path, tmp_path / "f")
        assert (down.success, down.reason) == (False, reason)
    assert (await executor.download("nobody", "f", tmp_path / "f")).provenance is Provenance.UNAVAILABLE
    assert (await executor.upload("nobody", tmp_path, "f")).provenance is Provenance.UNAVAILABLE
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InvalidInputError, match="No such file"):
        await executor.upload("t", tmp_path / "missing", "f")
    with pytest.raises(InvalidInputError, match="No such file"):
        await executor.download("t", "out", tmp_path / "no/such/folder")


async def test_a_full_workspace_takes_back_what_came(executor: Executor, tmp_path: Path) -> None:
    """The slot's files are at most 2 GiB, and no byte of a larger one stays."""
    with (tmp_path / "giant").open("wb") as file:
        file.truncate(2 * 1024 * MIB + 1)
    await bash(executor, "head -c 1900M /dev/zero > most")
    with trio.fail_after(120):
        up = await executor.upload("t", tmp_path / "giant", "giant")
    assert (up.success, up.reason) == (False, "no_space")
    assert await bash(executor, "ls -A") == "most"


async def break_off(executor: Executor, transfer: Callable[[], Awaitable[object]]) -> None:
    """Begin it, and cancel it when more has travelled than windows and pipes hold."""

    def moved() -> int:
        return sum(link.bytes_sent + link.bytes_received for link in executor.statistics().links.values())

    before = moved()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(transfer)
        while moved() < before + 16 * MIB:  # noqa: ASYNC110 - nobody is told of it
            await trio.sleep(0.002)
        nursery.cancel_scope.cancel()


async def test_an_upload_that_broke_off_goes_on(executor: Executor, tmp_path: Path) -> None:
    """What came is kept beside its place, and only the rest travels."""
    digest = fill(tmp_path / "f", 64 * MIB)

    await break_off(executor, partial(executor.upload, "t", tmp_path / "f", "f"))
    there = int(await bash(executor, "stat -c %s .f.part"))
    up = await executor.upload("t", tmp_path / "f", "f", resume=True)
    assert (up.success, up.sha256, up.sent_bytes) == (True, digest, 64 * MIB - there)
    assert await bash(executor, "sha256sum < f; ls -A") == f"{digest}  -\nf"
    again = await executor.upload("t", tmp_path / "f", "g", resume=True)
    assert again.sent_bytes == 64 * MIB


async def test_what_came_of_another_file_is_noticed(executor: Executor, tmp_path: Path) -> None:
    """The digest is that of the whole file."""
    digest = fill(tmp_path / "f", 100_000)
    await bash(executor, "head -c 1000 /dev/zero > .f.part")
    up = await executor.upload("t", tmp_path / "f", "f", resume=True)
    assert (up.success, up.error) == (False, "what came is not what was sent: its SHA-256 is another")
    assert await bash(executor, "ls -A") == ""
    assert (await executor.upload("t", tmp_path / "f", "f", resume=True)).sha256 == digest


async def test_a_download_that_broke_off_goes_on(executor: Executor, tmp_path: Path) -> None:
    """Likewise, here."""
    digest = (await bash(executor, "head -c 50000000 /dev/urandom > f; sha256sum f")).split()[0]
    await break_off(executor, partial(executor.download, "t", "f", tmp_path / "f"))
    assert not (tmp_path / "f").exists()
    have = (tmp_path / "f.part").stat().st_size
    down = await executor.download("t", "f", tmp_path / "f", resume=True)
    assert (down.success, down.sha256, down.sent_bytes) == (True, digest, 50_000_000 - have)
    (tmp_path / "g.part").write_bytes(b"another file")
    down = await executor.download("t", "f", tmp_path / "g", resume=True)
    assert (down.success, down.provenance) == (False, Provenance.INTERNAL_ERROR)
    assert {path.name for path in tmp_path.iterdir()} == {"f"}


async def test_a_cut_link_costs_a_transfer_nothing(tmp_path: Path) -> None:
    """The session goes on over the next link, and with it both directions."""
    digest = fill(tmp_path / "f", 48 * MIB)
    async with (
        ht.open_local_backend(slots=2) as backend,
        open_chaos_proxy() as proxy,
        ht.open_executor(ProxiedBackend(backend, proxy)) as executor,
    ):
        await bash(executor, "true")

        async def cut(target: Path | None) -> None:
            """Again and again, in the middle."""
            for _ in range(3):
                await trio.sleep(0.1)
                proxy.cut(reset=True)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(cut, None)
            up = await executor.upload("t", tmp_path / "f", "f")
        assert (up.success, up.sha256) == (True, digest)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cut, None)
            down = await executor.download("t", "f", tmp_path / "back")
        assert (down.success, down.sha256) == (True, digest)
        assert executor.statistics().reconnects >= 1


async def test_a_transfer_has_a_limit_if_that_is_wanted(executor: Executor, tmp_path: Path) -> None:
    """Typed; the slot goes on."""
    with (tmp_path / "f").open("wb") as file:
        file.truncate(1024 * MIB)
    up = await executor.upload("t", tmp_path / "f", "f", limit_s=0.2)
    assert (up.success, up.provenance) == (False, Provenance.LIMIT_EXCEEDED)
    assert await bash(executor, "echo fine") == "fine"


async def test_an_upload_that_is_no_archive_is_told(executor: Executor, tmp_path: Path) -> None:
    """A folder of this machine that cannot be read is the caller's; so is a file in a folder's place."""
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/f").write_bytes(b"x")
    await bash(executor, "echo x > file")
    up = await executor.upload("t", tmp_path / "tree", "file/below")
    assert up.success is False
    (tmp_path / "blocked").write_bytes(b"")
    await bash(executor, "mkdir t; echo x > t/f")
    with pytest.raises(InvalidInputError, match="blocked"):
        await executor.download("t", "t", tmp_path / "blocked")


async def test_an_archive_holds_what_was_there(executor: Executor, tmp_path: Path) -> None:
    """`archive_artifacts` end to end: any tar reads it."""
    await bash(executor, "mkdir -p d/e; echo hi > d/f")
    archive = await executor.archive_artifacts("t", "d")
    (tmp_path / "a.tar.gz").write_bytes(archive.data)
    with tarfile.open(tmp_path / "a.tar.gz") as tar:
        assert tar.getnames() == ["d/e", "d/f"]
    listing = await executor.list_artifacts("t", "d")
    assert [(entry.path, entry.is_dir) for entry in listing.entries] == [("d/e", True), ("d/f", False)]
    assert (await executor.list_artifacts("t", "d", max_entries=1)).truncated


async def weights_of(executor: Executor) -> Callable[[], tuple[int, int]]:
    """Looks what the trajectory's slot weighs, and all slots together, for who gets processor time."""
    found = re.search(r"hermes-trio-\w+/slot_\d+", await bash(executor, "cat /proc/self/cgroup"))
    assert found
    files = ("cpu.shares", "cpu.weight")
    [file] = (each for name in files for each in Path("/sys/fs/cgroup").rglob(f"{found[0]}/{name}"))

    def look() -> tuple[int, int]:
        return int(file.read_text()), int((file.parent.parent / file.name).read_text())

    return look


@pytest.mark.cgroups
@pytest.mark.parametrize("cancelled", [False, True])
async def test_bytes_on_their_way_go_before_commands(executor: Executor, *, cancelled: bool) -> None:
    """A slot whose worker takes them weighs more; all slots weigh less while the daemon reads."""
    look = await weights_of(executor)
    slot, together = look()
    seen: list[tuple[int, int]] = []
    pieces = iter([bytes(MIB)] * 24)

    with trio.CancelScope() as scope:

        async def give() -> bytes:
            await trio.lowlevel.checkpoint()
            seen.append(look())
            if cancelled and len(seen) == 20:
                scope.cancel()
            return next(pieces, b"")

        await executor.receive_upload("t", "f", give)
    assert seen[-1] == (8 * slot, together)
    await bash(executor, "truncate -s 24M g")
    assert look() == (slot, together)

    with trio.CancelScope() as scope:

        async def take(_: bytes) -> None:
            await trio.lowlevel.checkpoint()
            seen.append(look())
            if cancelled:
                scope.cancel()

        await executor.send_download("t", "g", take)
    await bash(executor, "true")
    assert (slot, together * 2 // 3) in seen
    assert look() == (slot, together)
