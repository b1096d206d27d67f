"""The hostile tests once more without root: a user namespace is all that level ``ns`` takes.

Each runs in a forked child that has given up every privilege. Forked, because the interpreter of the tests
and the checkout may lie where nobody else can enter: what is loaded already needs no entrance.
"""

from __future__ import annotations

import encodings.idna  # noqa: F401 - it is loaded when a name is looked up, and then it is too late
import importlib.util
import inspect
import os
import pickle
import shutil
import signal
import tempfile
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from sandbox_daemon.isolation.levels import Isolation, Level
from sandbox_daemon.isolation.probe import probe

pytestmark = [pytest.mark.slow, pytest.mark.root, pytest.mark.bubblewrap]

NOBODY = 65534
MODULES = ("isolation", "processes", "output")
NOT_REPEATED = {
    "test_long_commands_are_not_cut_at_ten_seconds": "takes 25 s, and privileges play no part",
    "test_a_fork_bomb_stays_in_its_slot": "counts by the slot's uid, see below",
}


def _cases() -> Iterator[Any]:
    """Every test of those modules that wants two slots and nothing else, once for each of its arguments."""
    for module in MODULES:
        path = Path(__file__).with_name(f"test_sandbox_{module}.py")
        spec = importlib.util.spec_from_file_location(f"unprivileged_{module}", path)
        assert spec is not None
        assert spec.loader is not None
        loaded = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(loaded)
        for name, function in vars(loaded).items():
            if name.startswith("test_") and name not in NOT_REPEATED:
                yield from _variants(name, function)


def _variants(name: str, function: Callable[..., Any]) -> Iterator[Any]:
    marks = getattr(function, "pytestmark", [])
    names: list[str] = []
    rows: list[tuple[Any, ...]] = [()]
    if marks and all(mark.name == "parametrize" for mark in marks[:1]):
        text, values = marks[0].args
        names = [text] if isinstance(text, str) else list(text)
        rows = [value if len(names) > 1 else (value,) for value in values]
    if ["slots", *names] == list(inspect.signature(function).parameters) and len(marks) <= 1:
        for number, row in enumerate(rows):
            case = partial(function, **dict(zip(names, row, strict=True)))
            yield pytest.param(case, id=f"{name}-{number}" if names else name)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder that strangers can reach; pytest's own lie below one that is private to root."""
    made = Path(tempfile.mkdtemp(dir="/var/tmp", prefix="hermes-test-"))
    made.chmod(0o777)
    yield made
    shutil.rmtree(made)


def _as_nobody(body: Callable[[], object]) -> Any:
    """What ``body`` returns in a forked child without any privilege. Fails with its traceback."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        said = pickle.dumps((None, "it ended in an unusual way"))
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            said = pickle.dumps((body(), ""))
        except Exception:
            said = pickle.dumps((None, traceback.format_exc()[-6000:]))
        finally:  # whatever happened: there must not be two of this test run
            os.write(writer, said)
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        value, trace = pickle.loads(pipe.read())
    os.waitpid(child, 0)
    if trace:
        pytest.fail(trace, pytrace=False)
    return value


@pytest.fixture(scope="module")
def isolation(folder: Path, probe_isolation: Isolation) -> Isolation:
    """What a probe without privileges finds; the one with them has loaded all that a daemon needs."""
    assert probe_isolation.level is Level.NS
    found = _as_nobody(partial(trio.run, probe, "required", folder / "probed"))
    assert isinstance(found, Isolation)
    return found


def test_level_ns_holds_without_privileges(isolation: Isolation) -> None:
    """And says what is softer than with them."""
    assert isolation.level is Level.NS
    assert isolation.mechanisms["identity"] == "the daemon's uid"
    assert isolation.mechanisms["process count"] in ("RLIMIT_NPROC", "control group")
    assert isolation.mechanisms["memory"] in ("RLIMIT_DATA of each process", "control group")
    assert "disk limit" in {item.name for item in isolation.missing}


@pytest.mark.parametrize("case", list(_cases()))
def test_without_privileges(
    attacked: Any, isolation: Isolation, folder: Path, case: Callable[..., Any]
) -> None:
    """The same test, the same shared assertions; nothing is left in the data directory."""
    data = folder / "data"

    async def main() -> None:
        async with attacked(isolation, data) as slots:
            await case(slots)

    _as_nobody(partial(trio.run, main))
    assert list((data / "slots").iterdir()) == []
    assert list((data / "trash").iterdir()) == []


def test_the_softer_limits_hold_without_privileges(attacked: Any, isolation: Isolation, folder: Path) -> None:
    """Processes are counted for each namespace, memory for each process; both are told as what they are."""

    async def main() -> None:
        async with attacked(isolation, folder / "limits") as slots:
            assert await slots.text("id -u; mkdir -p a/b; chmod 000 a") == "1000\n"
            await slots.bash(":(){ :|:& };:; sleep 0.5", limit_s=2)
            assert slots.strays() == {}
            outcome = await slots.bash("python3 -c 'bytearray(2 << 30)'")
            assert b"MemoryError" in outcome.payload
            assert (await slots.bash("truncate -s 3G f")).data["signal"] == signal.SIGXFSZ

    _as_nobody(partial(trio.run, main))
