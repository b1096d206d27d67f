"""Workspaces saved in files and restored on other daemons: from layers to copies, and back."""

# ruff: noqa: ASYNC240 - a test may look at files as it likes

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

import hermes_trio as ht
from hermes_trio.errors import InvalidInputError, UnavailableError
from hermes_trio.executor.workspaces import BaseId

pytestmark = [pytest.mark.bubblewrap, pytest.mark.slow]


@asynccontextmanager
async def open_executor(isolation: str, slots: int = 3) -> AsyncIterator[Any]:
    """One daemon's slots."""
    async with (
        ht.open_local_backend(slots=slots, isolation=isolation) as backend,  # type: ignore[arg-type]
        ht.open_executor(backend) as executor,
    ):
        yield executor


@pytest.fixture(params=["auto none", "none auto"])
async def pair(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Any, Any]]:
    """Two daemons: with layers, or with workspaces that are copied."""
    async with AsyncExitStack() as stack:
        yield tuple([await stack.enter_async_context(open_executor(each)) for each in request.param.split()])


async def run(executor: Any, trajectory_id: str, command: str) -> str:
    """What a command prints."""
    result = await executor.execute(trajectory_id, ht.ToolCall(name="bash", arguments={"command": command}))
    return str(result.output or result.error)


SHUT = "0" if os.geteuid() == 0 else "400"
"""A mode that keeps everybody out but the daemon: without root, that is the files' owner and no more."""
MAKE = r"""
mkdir -p a/b empty; echo one > a/b/one; echo two > two; ln -s ../two a/link; ln two again
ln -s /etc/passwd out
chmod 750 .; chmod 4711 two; printf x > $'odd \xff\n'; truncate -s 5M sparse; mkfifo pipe
printf tail | dd of=sparse bs=1 seek=3000000 conv=notrunc status=none; : > nothing
mkdir locked; echo secret > locked/f; chmod 0 locked/f; chmod 500 locked; head -c 3M /dev/urandom > noise
mkdir -p $(printf 'deep/%.0s' {1..40}); echo x > .wh.f; touch -- '-r' ' '; touch $(printf 'n%.0s' {1..255})
printf more > $(printf 'deep/%.0s' {1..40})/$(printf 'm%.0s' {1..200})
touch -d '1969-12-31 23:59:58.5 UTC' nothing
touch -d '2001-02-03 04:05:06.123456789 UTC' a/b/one; touch -h -d '2002-01-01 00:00:00.000000001 UTC' a/link
touch -d '2003-01-01 UTC' empty; touch -d '2004-01-01 UTC' .
""".replace("chmod 0 ", f"chmod {SHUT} ")
LOOK = r"""
find . -type d -printf '%P %y %m %T@\n' | sort; du -k sparse
find . ! -type d -printf '%P %y %m %n %s %T@ %l\n' | sort | cat -v
chmod 600 locked/f; find . -type f -print0 | sort -z | xargs -0 sha256sum; chmod 0 locked/f
""".replace("chmod 0 ", f"chmod {SHUT} ")


async def test_a_workspace_without_a_base_is_restored_elsewhere(
    pair: tuple[Any, Any], tmp_path: Path
) -> None:
    """Types, modes, links of both kinds, times to the nanosecond, holes, names that are no text."""
    here, there = pair
    assert await run(here, "one", MAKE) == ""
    before = await run(here, "one", LOOK)
    archive = await here.snapshot_workspace("one", tmp_path / "w")
    assert (archive.size, archive.base) == ((tmp_path / "w").stat().st_size, None)
    await run(there, "two", "echo what was there before > x; ln -s /etc a")
    restored = await there.restore_workspace("two", tmp_path / "w")
    assert restored == archive
    assert await run(there, "two", LOOK) == before
    assert await run(here, "one", LOOK) == before
    await there.reset("two")
    assert await run(there, "two", "ls -A") == ""


BASE = (
    "mkdir -p src/deep gone/in locked; echo a > src/a; echo b > src/deep/b; echo c > gone/in/c; ln src/a hard"
)
BASE += "; ln -s a src/l; echo t > touched; echo k > kind; mkdir kept; echo k > kept/k; chmod 500 locked; "
BASE += "find . -exec touch -h -d '2020-01-01 UTC' {} +"
CHANGE = r"""
echo longer > src/a; rm src/deep/b; mkdir src/deep/b; echo new > src/deep/b/new; chmod 700 src/deep
rm src/l; ln -s deep src/l; touch -d '2021-01-01 00:00:00.000000007 UTC' touched; rm kind; mkdir kind
rm -r gone; mkdir gone; echo other > gone/other; ln gone/other gone/again; chmod 711 kept
printf x > $'odd\xff\n'
chmod 700 locked; touch locked/f; chmod 500 locked; touch -d '2022-01-01 UTC' .
"""


async def test_what_differs_from_a_base_is_restored_on_that_base(
    pair: tuple[Any, Any], tmp_path: Path
) -> None:
    """Removed names, folders in place of files and of folders; twice the same archive comes of it."""
    here, there = pair
    bases = []
    for executor in pair:
        await run(executor, "maker", f"{BASE}; chmod 755 .; touch -d '2020-01-01 UTC' .")
        bases.append(await executor.build_base("maker"))
        await executor.release("maker")
    assert bases[0] == bases[1]
    await here.use_base("one", bases[0])
    await run(here, "one", "head -c 2M /dev/urandom > seed")
    await here.fork("one", into=["child"])
    assert await run(here, "child", f"rm seed; {CHANGE}") == ""
    look = (
        "find . -printf '%P %y %m %s %T@ %l\n' | sed 's/ d \\([0-9]*\\) [0-9]* / d \\1 /' | sort | cat -v; "
    )
    look += "cat hard src/a gone/*; ls gone/in locked 2>&1 | wc -l"
    before = await run(here, "child", look)
    archive = await here.snapshot_workspace("child", tmp_path / "w")
    assert archive.base == bases[0]
    assert archive.size < 10_000
    await there.restore_workspace("two", tmp_path / "w")
    assert await run(there, "two", look) == before
    diffs = [await executor.diff(who) for executor, who in ((here, "child"), (there, "two"))]
    assert [(c.path, c.how) for c in diffs[0].changes] == [(c.path, c.how) for c in diffs[1].changes]
    await there.snapshot_workspace("two", tmp_path / "again")
    await here.restore_workspace("child", tmp_path / "again")
    assert await run(here, "child", look) == before
    await here.reset("child")
    assert await run(here, "child", "cat src/deep/b gone/in/c") == "b\nc"


async def test_an_archive_is_not_restored_on_another_base(pair: tuple[Any, Any], tmp_path: Path) -> None:
    """Nor where its base is not, nor one without a base on one; nothing is lost by the attempt."""
    here, there = pair
    await run(here, "maker", "echo base > f")
    base = await here.build_base("maker")
    await here.use_base("one", base)
    await here.snapshot_workspace("one", tmp_path / "based")
    await run(here, "plain", "echo plain > p")
    await here.snapshot_workspace("plain", tmp_path / "plain")
    await run(there, "two", "echo mine > mine")
    with pytest.raises(UnavailableError, match="There is no base"):
        await there.restore_workspace("two", tmp_path / "based")
    assert await run(there, "two", "cat mine") == "mine"
    other = await there.build_base("two")
    await there.use_base("two", other)
    for name, stands in (("based", f"base {base}"), ("plain", "no base")):
        with pytest.raises(
            InvalidInputError, match=f"stands on {stands}, and this workspace on base {other}"
        ):
            await there.restore_workspace("two", tmp_path / name)
    assert await run(there, "two", "cat mine") == "mine"
    assert not list(tmp_path.glob("*.part"))


async def test_of_nobody_there_is_no_snapshot(tmp_path: Path) -> None:
    """And of a file that is not there no restore; neither leaves a file."""
    async with open_executor("auto", 1) as executor:
        with pytest.raises(InvalidInputError, match="No active slot"):
            await executor.snapshot_workspace("nobody", tmp_path / "w")
        with pytest.raises(InvalidInputError, match="No such file"):
            await executor.restore_workspace("one", tmp_path / "w")
        await run(executor, "one", "true")
        with pytest.raises(InvalidInputError, match="No such file"):
            await executor.snapshot_workspace("one", tmp_path / "no" / "w")
        assert list(tmp_path.iterdir()) == []


async def test_a_quiet_workspace_is_read_and_not_changed(tmp_path: Path) -> None:
    """A verifier's tests may lie in it: nobody gets them by a fork or a base, and nobody wipes them."""
    async with open_executor("auto") as executor:
        await run(executor, "one", "echo x > f")
        base = await executor.build_base("one")
        quiet = await executor.quiesce("one")
        for change in (
            executor.fork("one", into=["two"]),
            executor.reset("one"),
            executor.build_base("one"),
            executor.use_base("one", BaseId(base)),
            executor.restore_workspace("one", tmp_path / "w"),
        ):
            with pytest.raises(UnavailableError, match="quiet for its verifier"):
                await change
        await executor.snapshot_workspace("one", tmp_path / "w")
        assert [change.path for change in (await executor.diff("one")).changes] == [b"f"]
        quiet.reopen()
        await executor.restore_workspace("one", tmp_path / "w")
        assert await run(executor, "one", "cat f") == "x"


async def shortest(work: Callable[[], Awaitable[object]]) -> float:
    """Seconds that it takes at least, of three times."""
    taken = []
    for _ in range(3):
        began = trio.current_time()
        await work()
        taken.append(trio.current_time() - began)
    return min(taken)


@pytest.mark.parametrize("isolation", ["auto", "none"])
async def test_a_cancel_half_way_leaves_a_clean_slot(isolation: str, tmp_path: Path) -> None:
    """Of a snapshot no file and a workspace as it was; of a restore a workspace as a reset leaves it."""
    async with open_executor(isolation, 2) as executor:
        await run(executor, "one", "head -c 40M /dev/urandom > f; sha256sum f > sum")
        whole_s = await shortest(partial(executor.snapshot_workspace, "one", tmp_path / "w"))
        for share in (0.1, 0.5):
            with trio.move_on_after(share * whole_s) as scope:
                await executor.snapshot_workspace("one", tmp_path / "x")
            assert scope.cancelled_caught
        assert sorted(path.name for path in tmp_path.iterdir()) == ["w"]
        assert await run(executor, "one", "sha256sum -c sum") == "f: OK"
        left = set()
        whole_s = await shortest(partial(executor.restore_workspace, "two", tmp_path / "w"))
        for share in (0.02, 0.1, 0.3, 0.5):
            await executor.reset("two")
            await run(executor, "two", "echo before > before")
            with trio.move_on_after(share * whole_s) as scope:
                await executor.restore_workspace("two", tmp_path / "w")
            assert scope.cancelled_caught
            left.add(await run(executor, "two", "ls -A"))
        assert left <= {"", "before"}
        assert "" in left
        await executor.restore_workspace("two", tmp_path / "w")
        assert await run(executor, "two", "sha256sum -c sum") == "f: OK"


async def test_a_limit_ends_a_restore(tmp_path: Path) -> None:
    """And leaves the slot as a reset does."""
    async with open_executor("auto", 2) as executor:
        await run(executor, "one", "head -c 60M /dev/urandom > f")
        await executor.snapshot_workspace("one", tmp_path / "w")
        with pytest.raises(UnavailableError, match=r"longer than 0\.05 s"):
            await executor.restore_workspace("two", tmp_path / "w", limit_s=0.05)
        with pytest.raises(UnavailableError, match=r"longer than 0\.02 s"):
            await executor.snapshot_workspace("one", tmp_path / "x", limit_s=0.02)
        assert await run(executor, "two", "ls -A") == ""
        assert not (tmp_path / "x").exists()
