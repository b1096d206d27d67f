"""Loggers: records of the standard library, with their values beside them."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest
import trio

from hermes_trio.telemetry.log import RECORD_ATTRIBUTE, bound, bound_values, get_logger

logger = get_logger("hermes_trio.tested")


def test_a_record_is_readable_under_any_configuration(caplog: pytest.LogCaptureFixture) -> None:
    """The sentence first, then the values, those of the task too; empty ones are left out."""
    with bound(trajectory="t 1", slot=""):
        logger.warning("it went away", daemon="d-0", reason=ValueError("no 100%"), call=None)
    (record,) = caplog.records
    assert record.getMessage() == "it went away trajectory='t 1' daemon=d-0 reason='no 100%'"
    assert record.levelno == logging.WARNING
    assert record.funcName == "test_a_record_is_readable_under_any_configuration"
    event, values = getattr(record, RECORD_ATTRIBUTE)
    assert (event, values["daemon"]) == ("it went away", "d-0")


def test_no_secret_is_in_the_record_of_whoever_configured_logging(caplog: pytest.LogCaptureFixture) -> None:
    """Their formatter knows nothing of ours."""
    logger.error("refused", url="https://me:hunter22@host/")
    assert "hunter22" not in caplog.text


def test_each_level_has_its_method(caplog: pytest.LogCaptureFixture) -> None:
    """And what is below the level is not even put together."""
    caplog.set_level(logging.DEBUG, logger="hermes_trio.tested")
    for name in ("debug", "info", "warning", "error", "critical"):
        getattr(logger, name)("said")
    try:
        raise ZeroDivisionError("here")
    except ZeroDivisionError:
        logger.exception("caught")
    assert [r.levelname for r in caplog.records] == ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", "ERROR"]
    assert "ZeroDivisionError: here" in caplog.text
    caplog.set_level(logging.ERROR, logger="hermes_trio.tested")

    class Never:
        def __str__(self) -> str:
            raise AssertionError

    logger.info("not told", value=Never())
    assert repr(logger) == "<Logger hermes_trio.tested>"


async def test_what_is_bound_belongs_to_a_task_and_to_those_that_it_starts() -> None:
    """Not to its neighbours, and not longer than the block."""
    seen: dict[str, object] = {}

    async def look(name: str) -> None:
        await trio.lowlevel.checkpoint()
        seen[name] = dict(bound_values())

    async def work(name: str) -> None:
        with bound(trajectory=name):
            with bound(call=7):
                await look(name)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(look, f"{name}.child")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(work, "a")
        nursery.start_soon(work, "b")
    assert seen["a"] == {"trajectory": "a", "call": 7}
    assert seen["b.child"] == {"trajectory": "b"}
    assert not bound_values()


def test_importing_us_configures_nothing() -> None:
    """Neither handlers nor levels nor structlog; whoever embeds us keeps their own."""
    code = """
import logging, sys
logging.basicConfig(level=logging.ERROR, format="MINE %(message)s")
before = logging.root.handlers[:], logging.root.level, logging.root.handlers[0].formatter
import hermes_trio, hermes_trio.executor.executor, sandbox_daemon.server.daemon
assert (logging.root.handlers[:], logging.root.level, logging.root.handlers[0].formatter) == before
assert logging.getLogger("hermes_trio").level == logging.NOTSET
assert not logging.getLogger("hermes_trio").handlers
assert "structlog" not in sys.modules
from hermes_trio.telemetry.log import get_logger
get_logger("hermes_trio.x").error("said", a=1)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stderr) == (0, "MINE said a=1\n")
