"""Bases and differences of real workspaces, through an executor: on layers, and by copying."""

# ruff: noqa: ASYNC110, ASYNC240 - a test may look at files and processes as it likes

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import hermes_trio as ht
from hermes_trio.errors import InvalidInputError, NoBaseError, UnavailableError
from hermes_trio.executor.workspaces import BaseId, WorkspaceDiff
from hermes_trio.wire.operations import BashArguments
from sandbox_daemon.isolation.levels import Isolation
from sandbox_daemon.slots import storage
from sandbox_daemon.slots.pool import SlotPoolConfig, open_slot_pool

pytestmark = [pytest.mark.bubblewrap, pytest.mark.slow]


@asynccontextmanager
async def open_executor(slots: int, isolation: str) -> AsyncIterator[Any]:
    """One daemon's slots."""
    async with (
        ht.open_local_backend(slots=slots, isolation=isolation) as backend,
        ht.open_executor(backend) as executor,
    ):
        yield executor


@pytest.fixture(params=["auto", "none"])
async def executor(request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    """Four slots at the best level, and at the one without any isolation, where workspaces are copied."""
    async with open_executor(4, request.param) as opened:
        yield opened


async def run(executor: Any, trajectory_id: str, command: str) -> str:
    """What a command prints."""
    call = ht.ToolCall(name="bash", arguments={"command": command})
    result = await executor.execute(trajectory_id, call)
    return str(result.output or result.error)


def told(diff: WorkspaceDiff) -> dict[str, str]:
    """How each path differs."""
    return {change.path.decode("utf-8", "backslashreplace"): change.how for change in diff.changes}


MAKE = "mkdir -p src/deep; echo a > src/a; echo b > src/deep/b; ln -s a src/l && ln src/a hard; chmod 755 ."
DATES = "find . -exec touch -h -d '2020-01-01 UTC' {} +"


async def test_a_base_is_named_by_what_is_in_it_and_shared(executor: Any) -> None:
    """Built twice it is one; a mode, a name or a byte makes it another."""
    for name in ("one", "two"):
        await run(executor, name, f"{MAKE}; {DATES}")
    base = await executor.build_base("one")
    assert len(base) == 64
    assert await executor.build_base("two") == base
    await run(executor, "two", f"chmod 600 src/a; {DATES}")
    assert await executor.build_base("two") != base
    await executor.use_base("three", base)
    look = "find . -printf '%P %y %m %T@ %l\n' | sort; cat src/a src/deep/b"
    assert await run(executor, "three", look) == await run(executor, "one", look)


async def test_those_who_begin_with_a_base_do_not_see_each_other(executor: Any) -> None:
    """Nor does the base see them: a reset brings it back, a release forgets it."""
    await run(executor, "maker", MAKE)
    base = await executor.build_base("maker")
    for name in ("one", "two"):
        await executor.use_base(name, base)
    await run(executor, "one", "echo changed > src/a; rm -r src/deep; echo new > n")
    assert await run(executor, "two", "cat src/a src/deep/b; ls n 2>&1 | wc -l") == "a\nb\n1"
    await executor.reset("one")
    assert await run(executor, "one", "cat src/a src/deep/b; ls n 2>&1 | wc -l") == "a\nb\n1"
    assert (await executor.diff("one")).changes == ()
    await executor.release("one")
    assert await run(executor, "one", "ls -A") == ""


async def test_a_base_that_is_not_there_is_refused_and_nothing_is_lost(executor: Any) -> None:
    """Whatever its name looks like."""
    await run(executor, "one", "echo x > f")
    for name in ("0" * 64, "", "../../etc"):
        with pytest.raises(UnavailableError, match="no base"):
            await executor.use_base("one", BaseId(name))
    assert await run(executor, "one", "cat f") == "x"


CHANGE = r"""
echo longer > src/a; rm src/deep/b; mkdir src/deep/b; echo new > src/deep/b/new; chmod 700 src/deep
rm src/l; ln -s deep src/l; touch hard; printf x > $'odd\xff\n'; rm -rf gone; mkdir gone
echo back > gone/other
"""


async def test_a_diff_tells_what_differs_from_the_base(executor: Any) -> None:
    """Types, modes, sizes and content; a touched file and one that was made anew the same do not."""
    await run(executor, "maker", f"{MAKE}; mkdir gone; echo x > gone/file; echo same > same")
    base = await executor.build_base("maker")
    await executor.use_base("one", base)
    await run(executor, "one", f"{CHANGE}; rm same; echo same > same")
    expected = {
        "gone/file": "removed",
        "gone/other": "added",
        "odd\\xff\n": "added",
        "src/a": "changed",
        "src/deep": "changed",
        "src/deep/b": "changed",
        "src/deep/b/new": "added",
        "src/l": "changed",
    }
    found = told(await executor.diff("one"))
    found.pop("hard", None)  # on layers writing to one name of a file of the base leaves the others alone
    assert found == expected
    await executor.fork("one", into=["child"])
    await run(executor, "child", "rm src/l")
    assert {**expected, "src/l": "removed"} == {
        path: how for path, how in told(await executor.diff("child")).items() if path != "hard"
    }


async def test_a_diff_comes_in_pages(executor: Any) -> None:
    """Each begins after the last path of the one before; a silly size is refused."""
    await run(executor, "one", "mkdir d; touch d/{1..30} e")
    found: list[bytes] = []
    after = None
    while True:
        page = await executor.diff("one", after=after, max_entries=7)
        assert len(page.changes) <= 7
        found += [change.path for change in page.changes]
        if not page.truncated:
            break
        after = found[-1]
    assert len(found) == len(set(found)) == 32
    for size in (0, 1_000_000):
        with pytest.raises(InvalidInputError, match="max_entries"):
            await executor.diff("one", max_entries=size)


async def test_forks_resets_and_diffs_ask_for_a_slot(executor: Any) -> None:
    """Of whom nothing is known nothing can be forked, and nobody is forked over somebody."""
    with pytest.raises(InvalidInputError, match="no slot"):
        await executor.fork("nobody", into=["x"])
    await run(executor, "one", "true")
    await run(executor, "two", "true")
    for into in (["two"], [], ["x", "x"], ["one"], "x"):
        with pytest.raises(InvalidInputError, match="into"):
            await executor.fork("one", into=into)
    with pytest.raises(UnavailableError, match="free slots"):
        await executor.fork("one", into=["a", "b", "c"])
    assert executor.statistics().slots.free == 2


NAMES = ("a", "b", "c")
STEP = st.one_of(
    st.tuples(st.just("write"), st.sampled_from(NAMES), st.sampled_from(NAMES)),
    st.tuples(st.just("remove"), st.sampled_from(NAMES), st.sampled_from(NAMES)),
    st.tuples(st.just("fork"), st.sampled_from(NAMES), st.sampled_from(NAMES)),
    st.tuples(st.just("reset"), st.sampled_from(NAMES), st.just("")),
)


@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(STEP, min_size=3, max_size=12))
@example([("remove", "a", "a"), ("remove", "a", "b")])
def test_workspaces_are_dictionaries(steps: list[tuple[str, str, str]]) -> None:
    """Write, remove, fork and reset in any order, on one base; what each has, and how it differs."""
    trio.run(_check_steps, steps)


async def _check_steps(steps: list[tuple[str, str, str]]) -> None:
    start = {"a": "base", "d/b": "base"}
    async with open_executor(4, "auto") as executor:
        await run(executor, "maker", "mkdir d; echo base > a; echo base > d/b")
        base = await executor.build_base("maker")
        await executor.release("maker")
        models: dict[str, dict[str, str]] = {}
        for number, (what, who, other) in enumerate(steps):
            if who not in models:
                await executor.use_base(who, base)
                models[who] = dict(start)
            model = models[who]
            path = {"a": "a", "b": "d/b", "c": "e/c"}.get(other, "")
            if what == "write":
                await run(executor, who, f"mkdir -p d e; echo {number} > {path}")
                model[path] = str(number)
            elif what == "remove":
                await run(executor, who, f"rm -f {path}")
                model.pop(path, None)
            elif what == "reset":
                await executor.reset(who)
                models[who] = dict(start)
            elif other != who:
                await executor.release(other)
                await executor.fork(who, into=[other])
                models[other] = dict(model)
        for who, model in models.items():
            await _check_model(executor, who, model, start)


async def _check_model(executor: Any, who: str, model: dict[str, str], start: dict[str, str]) -> None:
    text = await run(executor, who, "for f in a d/b e/c; do [ -e $f ] && echo $f $(cat $f); done; true")
    assert dict(line.split() for line in text.splitlines()) == model
    paths = {change.path.decode() for change in (await executor.diff(who)).changes} & {"a", "d/b", "e/c"}
    assert paths == {path for path in start.keys() | model.keys() if start.get(path) != model.get(path)}


def test_a_daemon_that_is_killed_in_a_fork_leaves_nothing(probe_isolation: Isolation, tmp_path: Path) -> None:
    """Neither a device nor a mount nor a file that the next daemon does not clear."""
    trio.run(_kill_in_fork, tmp_path)


async def _kill_in_fork(tmp_path: Path) -> None:
    data = tmp_path / "data"
    token = tmp_path / "token"
    token.write_text("x" * 64)

    async def serve(use: Callable[[Any, int], Any]) -> None:
        ready = tmp_path / "ready"
        ready.unlink(missing_ok=True)
        command = [sys.executable, "-m", "sandbox_daemon", "--port", "0", "--slots", "5"]
        command += ["--data-dir", str(data), "--token-file", str(token), "--ready-file", str(ready)]
        async with trio.open_nursery() as nursery:
            process = await nursery.start(_started, command)
            while not ready.exists():
                await trio.sleep(0.05)
            url = json.loads(ready.read_text())["url"]
            async with (
                ht.open_static_backend([url], token="x" * 64) as backend,
                ht.open_executor(backend) as executor,
            ):
                await use(executor, process.pid)
            nursery.cancel_scope.cancel()

    async def fork_and_kill(executor: Any, pid: int) -> None:
        await run(executor, "one", "head -c 1M /dev/urandom > f")
        await executor.build_base("one")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_fork_ignoring, executor)
            await trio.sleep(0.005)
            os.kill(pid, signal.SIGKILL)
            with trio.move_on_after(3):
                await executor.release("one")
            nursery.cancel_scope.cancel()

    async def look(executor: Any, pid: int) -> None:
        assert await run(executor, "one", "ls -A") == ""
        await executor.fork("one", into=["a", "b"])
        assert sorted(os.listdir(data / "bases")) == []

    await serve(fork_and_kill)
    await serve(look)
    loops = [path.read_text() for path in Path("/sys/block").glob("loop*/loop/backing_file")]
    assert [text for text in loops if str(data) in text] == []


async def _started(command: list[str], task_status: trio.TaskStatus[trio.Process]) -> None:
    await trio.run_process(command, check=False, capture_stdout=True, task_status=task_status)


async def _fork_ignoring(executor: Any) -> None:
    try:
        await executor.fork("one", into=["a", "b", "c"])
    except ht.HermesTrioError:
        return


async def test_a_session_that_holds_a_file_open_does_not_write_to_a_layer() -> None:
    """It is ended before the fork: nothing grows afterwards, in the parent or in the child."""
    hold = "echo start > f; exec 5>>f; (while :; do echo x >&5; sleep 0.01; done) &"
    async with (
        ht.open_local_backend(slots=2) as backend,
        ht.open_executor(backend, tools=ht.registry_of("full")) as executor,
    ):
        await executor.execute("parent", ht.ToolCall(name="bash_stateful", arguments={"command": hold}))
        await run(executor, "parent", "until [ $(wc -l < f) -gt 3 ]; do sleep 0.02; done")
        await executor.fork("parent", into=["child"])
        lines = await run(executor, "child", "wc -l < f; sleep 0.3")
        assert [await run(executor, name, "wc -l < f") for name in ("parent", "child")] == [lines, lines]


async def test_a_base_is_removed_when_nothing_stands_on_it(executor: Any) -> None:
    """Neither a slot nor a fork of one; who asks for it then is told that it is not there."""
    await run(executor, "maker", MAKE)
    base = await executor.build_base("maker")
    await executor.use_base("one", base)
    await executor.fork("one", into=["fork"])
    bases = await executor.bases("maker")
    assert bases.names == (base,)
    assert bases.used == {base}
    for name in ("one", "fork"):
        with pytest.raises(UnavailableError, match="stands on base"):
            await executor.remove_base("maker", base)
        assert await run(executor, "fork", "cat src/a") == "a"
        await executor.release(name)
    await executor.remove_base("maker", base)
    assert (await executor.bases("maker")).names == ()
    for asked in (executor.use_base("one", base), executor.remove_base("maker", base)):
        with pytest.raises(NoBaseError, match="There is no base"):
            await asked
    assert await executor.build_base("maker") == base
    await executor.use_base("one", base)
    assert await run(executor, "one", "cat src/a") == "a"


async def test_the_least_recently_used_base_goes_when_there_are_too_many(
    probe_isolation: Isolation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for those that somebody stands on; when they are all in use, no more can be built."""
    monkeypatch.setattr(storage, "MAX_BASES", 2)
    config = SlotPoolConfig(slots=3, data_dir=tmp_path / "data")
    async with open_slot_pool(config, probe_isolation) as pool:
        maker, one, two = [await pool.acquire(owner="test", trajectory_id=name) for name in "mot"]

        async def build(text: str) -> str:
            await pool.bash(maker, BashArguments(command=f"echo {text} > f"))
            return await pool.build_base(maker)

        first, second = await build("first"), await build("second")
        await pool.reset(one, base=first)
        third = await build("third")
        assert set(pool.bases()[0]) == {first, third}
        with pytest.raises(NoBaseError):
            await pool.reset(two, base=second)
        await pool.reset(two, base=third)
        with pytest.raises(UnavailableError, match="stand on all of them"):
            await build("fourth")
        assert (await pool.bash(one, BashArguments(command="cat f"))).payload == b"first\n"
