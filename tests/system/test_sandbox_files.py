"""Files: nothing outside is read, written or even known to exist. Items 28 and 34 to 39 of the checklist."""

# ruff: noqa: ASYNC110, ASYNC240 - a test may look at files, processes and clocks as it likes

from __future__ import annotations

import hashlib
import os
import signal
import stat
import time
from pathlib import Path

import pytest
import trio

from hermes_trio.errors import Provenance

pytestmark = [pytest.mark.bubblewrap, pytest.mark.slow, pytest.mark.hostile]

DENIED = "Access denied: path outside workspace"


async def test_what_is_written_is_read_back(slots) -> None:
    """Parents are made, sizes reported."""
    outcome = await slots.write("a/b/c.txt", b"hello")
    assert (outcome.provenance, outcome.data) == (Provenance.OK, {"written_bytes": 5})
    outcome = await slots.read("a/b/c.txt")
    assert (outcome.payload, outcome.segments, outcome.data) == (b"hello", (5,), {"file_bytes": 5})
    assert (await slots.read("/workspace/a/b/c.txt")).payload == b"hello"
    assert await slots.text("cat a/b/c.txt; stat -c '%U %a' a a/b/c.txt") == "helloagent 755\nagent 644\n"


@pytest.mark.parametrize(
    "path",
    [
        "../slot_1/workspace/secret",
        "../../../etc/passwd",
        "a/../../x",
        "/etc/passwd",
        "/etc/no-such-file",
        "/workspace/../etc/passwd",
        "/workspacex",
        "/",
        "..",
        "link-out",
        "link-out-missing",
        "link-dir/passwd",
        "link-relative",
        "link-proc",
        "link-fd",
        "link-link",
    ],
)
async def test_nothing_outside_is_read_or_written(slots, path: str) -> None:
    """One answer whether it exists or not."""
    await slots.bash(
        "mkdir -p a; ln -s /etc/passwd link-out; ln -s /etc/missing link-out-missing; ln -s /etc link-dir;"
        "ln -s ../../etc/passwd link-relative; ln -s /proc/self/environ link-proc;"
        "ln -s /proc/self/fd/0 link-fd; ln -s link-out link-link"
    )
    for outcome in (await slots.read(path), await slots.write(path, b"planted")):
        assert (outcome.provenance, outcome.error, outcome.payload) == (Provenance.DENIED, DENIED, b"")
    assert "planted" not in Path("/etc/passwd").read_text()


async def test_links_that_stay_inside_are_followed(slots) -> None:
    """Relative or absolute, to a file or through a folder."""
    await slots.write("dir/target", b"before")
    await slots.bash("ln -s dir/target relative; ln -s /workspace/dir/target absolute; ln -s dir folder")
    for path in ("relative", "absolute", "folder/target", "dir/../dir/target"):
        assert (await slots.read(path)).payload == b"before", path
    assert (await slots.write("absolute", b"after")).provenance is Provenance.OK
    assert await slots.text("cat dir/target; readlink absolute") == "after/workspace/dir/target\n"
    assert (await slots.write("folder/new/deep", b"made")).provenance is Provenance.OK
    assert await slots.text("cat dir/new/deep") == "made"


async def test_a_dangling_or_circular_link_is_an_error_of_the_path(slots) -> None:
    """Written through, a dangling link that stays inside makes its target; a circle is refused."""
    await slots.bash("ln -s nowhere dangling; ln -s circle circle")
    assert (await slots.read("dangling")).error == "File not found: dangling"
    assert (await slots.write("dangling", b"now")).provenance is Provenance.OK
    assert (await slots.read("nowhere")).payload == b"now"
    assert (await slots.read("circle")).provenance is Provenance.TOOL_ERROR
    assert (await slots.write("circle", b"x")).provenance in (Provenance.TOOL_ERROR, Provenance.DENIED)


@pytest.mark.parametrize(
    "make", ["mkfifo thing", "mkdir thing", "python3 -c 'import socket; socket.socket(1).bind(\"thing\")'"]
)
async def test_only_regular_files_are_read_or_replaced(slots, make: str) -> None:
    """A FIFO does not block."""
    await slots.bash(make)
    began = time.perf_counter()
    for outcome in (await slots.read("thing"), await slots.write("thing", b"x")):
        assert (outcome.provenance, outcome.error) == (Provenance.TOOL_ERROR, "Not a file: thing")
    assert time.perf_counter() - began < 0.25


async def test_errors_have_the_ancestors_texts(slots) -> None:
    """Its clients match on them."""
    assert (await slots.read("missing")).error == "File not found: missing"
    await slots.write("big", b"x" * 1001)
    assert (await slots.read("big", max_bytes=1000)).error == "File too large: 1001 bytes (max 1000)"
    assert (await slots.write("f", b"x" * 11, max_bytes=10)).error == "Content too large: 11 bytes (max 10)"
    assert (await slots.read("big/below")).error == "File not found: big/below"
    await slots.bash("touch secret; chmod 000 secret")
    assert (await slots.read("secret")).error == "Permission denied: secret"


@pytest.mark.parametrize("path", ["", "a\0b", "x" * 5000])
async def test_impossible_paths_are_bad_requests(slots, path: str) -> None:
    """They are refused before anything is asked of the slot."""
    assert (await slots.read(path)).provenance is Provenance.INVALID_REQUEST
    assert (await slots.write(path, b"")).provenance is Provenance.INVALID_REQUEST


@pytest.mark.parametrize(
    "name", [".hidden", " space", "-dash", "new\nline", "ü" * 120, "\udcff\udcfe", "x" * 255]
)
async def test_any_name_a_file_can_have_works(slots, name: str) -> None:
    """Names are bytes; surrogates stand for those that are not UTF-8."""
    assert (await slots.write(name, b"content")).error == ""
    assert (await slots.read(name)).payload == b"content"
    assert os.listdir(os.fsencode(slots.workspace)) == [os.fsencode(name)]


@pytest.mark.parametrize("path", ["x" * 256, "trailing/", "."])
async def test_names_a_file_cannot_have_are_errors(slots, path: str) -> None:
    """And leave nothing behind."""
    assert (await slots.write(path, b"content")).provenance is Provenance.TOOL_ERROR
    assert [name for name in os.listdir(slots.workspace) if name.startswith(".write")] == []


@pytest.mark.parametrize("size", [0, 1, 100_000, 131_072, 131_073, 3 * 1024 * 1024])
async def test_contents_of_every_size_are_exact(slots, size: int) -> None:
    """Inside a message or through a descriptor."""
    content = os.urandom(size)
    assert (await slots.write("f", content, max_bytes=3 << 20)).data == {"written_bytes": size}
    outcome = await slots.read("f", max_bytes=3 << 20)
    assert hashlib.sha256(outcome.payload).digest() == hashlib.sha256(content).digest()
    assert outcome.data == {"file_bytes": size}


async def test_a_sparse_giant_is_too_large_and_is_not_read(slots) -> None:
    """Its size is asked first."""
    await slots.bash("truncate -s 1G f")
    began = time.perf_counter()
    assert (await slots.read("f")).error == f"File too large: {1 << 30} bytes (max 100000)"
    assert time.perf_counter() - began < 0.25


async def test_files_above_the_limit_cannot_be_made(slots) -> None:
    """RLIMIT_FSIZE, 2 GiB."""
    assert (await slots.bash("truncate -s 3G f")).data["exit_code"] != 0


async def test_writing_keeps_the_mode_and_replaces_in_one_step(slots) -> None:
    """Whoever has it open sees the old file whole."""
    await slots.bash("echo old > script; chmod 755 script; ln script other")
    await slots.write("script", b"echo new\n")
    assert stat.S_IMODE((slots.workspace / "script").stat().st_mode) == 0o755
    assert await slots.text("./script; cat other") == "new\nold\n"


async def test_a_failed_write_leaves_nothing_half_written(slots) -> None:
    """A folder nobody may write to."""
    await slots.bash("mkdir shut; echo old > shut/f; chmod 500 shut")
    assert (await slots.write("shut/f", b"new")).error == "Permission denied: shut/f"
    assert await slots.text("cat shut/f; ls -A shut") == "old\nf\n"


async def test_a_race_of_swapped_links_reads_nothing_foreign(slots) -> None:
    """resolve-then-open loses this race in one of fifty tries."""
    await slots.write("real/f", b"inside")
    await slots.bash(
        "mkdir real2; echo inside > real2/f; ln -s /etc outside; cp /etc/hostname real2/hostname"
    )
    seen: set[str] = set()
    swapper = (
        "import os\n"
        "os.symlink('real', 'at')\n"
        "while True:\n"
        "    for target in ('outside', 'real'):\n"
        "        os.symlink(target, 'at.new'); os.rename('at.new', 'at')\n"
    )
    await slots.write("swap.py", swapper.encode())
    # The slot takes one call at a time, so the swapper runs from outside, as the slot's uid would from
    # inside.
    stop = trio.Event()

    def swap() -> None:
        at, new = slots.workspace / "at", slots.workspace / "at.new"
        while not stop.is_set():
            for target in ("outside", "real"):
                new.symlink_to(target)
                new.rename(at)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, swap)
        deadline = trio.current_time() + 2
        while trio.current_time() < deadline:
            outcome = await slots.read("at/hostname")
            seen.add(outcome.error or outcome.payload.decode())
        stop.set()
    assert seen <= {DENIED, "File not found: at/hostname"}


async def test_a_workspace_of_links_to_the_system_is_reset_without_touching_it(slots) -> None:
    """Deleting follows nothing."""
    await slots.bash("ln -s /usr usr; ln -s / root; mkdir d; ln -s /usr/bin d/bin; chmod 000 d")
    before = len(os.listdir("/usr/bin"))
    assert await slots.pool.release(slots.lease) == "ready"
    slots.lease = await slots.pool.acquire(owner="test", trajectory_id="again")
    with trio.fail_after(10):
        while slots.pool.statistics().trash:
            await trio.sleep(0.01)
    assert len(os.listdir("/usr/bin")) == before


async def test_a_workspace_that_was_closed_is_opened_again(slots) -> None:
    """No agent can start in a folder of mode 0; the next call must not be lost for that."""
    await slots.write("kept", b"as it was")
    await slots.bash("chmod 000 .")
    agent = slots.agent_pid()
    await slots.pool.quiesce(slots.lease)
    assert slots.agent_pid() == agent
    outcome = await slots.bash("cat kept", allow_network=True)
    assert (outcome.error, outcome.payload) == ("", b"as it was")
    await slots.bash("chmod 755 .")


@pytest.mark.parametrize("cwd", ["closed", "circle", "x" * 300])
async def test_a_directory_that_cannot_be_entered_is_the_callers_matter(slots, cwd: str) -> None:
    """Not a failure of this daemon: nobody should try elsewhere."""
    await slots.bash("mkdir -m 000 closed; ln -s circle circle")
    outcome = await slots.bash("true", cwd=cwd)
    assert outcome.provenance is Provenance.INVALID_REQUEST
    assert outcome.error.startswith("bash: field 'cwd': ")


async def test_an_agent_that_hangs_over_a_file_is_replaced(slots, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing waits for ever; the next call finds the workspace as it was."""
    monkeypatch.setattr("sandbox_daemon.slots.work.FILE_LIMIT_S", 0.2)
    await slots.write("f", b"kept")
    os.kill(slots.agent_pid(), signal.SIGSTOP)
    outcome = await slots.read("f")
    assert outcome.provenance is Provenance.SANDBOX_LOST
    assert "no answer about a file within 0.2 s" in outcome.error
    monkeypatch.undo()
    assert (await slots.read("f")).payload == b"kept"


async def test_an_agent_that_dies_over_a_file_loses_that_call(slots) -> None:
    """Typed, and the next one works."""
    async with trio.open_nursery() as nursery:
        agent = slots.agent_pid()
        os.kill(agent, signal.SIGSTOP)

        async def kill() -> None:
            await trio.sleep(0.05)
            os.kill(agent, signal.SIGKILL)

        nursery.start_soon(kill)
        outcome = await slots.write("f", b"x")
    assert outcome.provenance is Provenance.SANDBOX_LOST
    assert (await slots.write("f", b"x")).provenance is Provenance.OK


async def test_a_chain_of_links_longer_than_a_stack_is_refused_and_the_agent_lives(slots) -> None:
    """Absolute ones, which are resolved by the agent itself."""
    code = "import os; [os.symlink(f'{os.getcwd()}/a{i + 1}', f'a{i}') for i in range(1500)]"
    await slots.bash(f'python3 -c "{code}"; echo x > a1500; touch /tmp/mark')
    for outcome in (
        await slots.read("a0"),
        await slots.write("a0", b"y"),
        await slots.bash("true", cwd="a0"),
    ):
        assert "Too many levels of symbolic links" in outcome.error
    assert await slots.text("ls /tmp; cat a1500") == "mark\nx\n"
