"""What the programs write: one JSON object a line, or lines for people; never a secret."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from hermes_trio.errors import InvalidInputError
from hermes_trio.telemetry.log import bound, get_logger
from hermes_trio.telemetry.redaction import keep_secret
from hermes_trio.telemetry.rendering import configure_logs

TOKEN = "token-of-32-characters-or-more-0123456789"


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """The programs take the logging of a process over; a test gives it back."""
    names = (None, "hermes_trio", "sandbox_daemon", "hermes_trio.audit")
    loggers = [logging.getLogger(name) for name in names]
    before = [(each, each.level) for each in loggers]
    handlers = logging.root.handlers[:]
    yield
    logging.root.handlers[:] = handlers
    for each, level in before:
        each.setLevel(level)


def told(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """What was written, as JSON."""
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_record_is_one_json_object_with_the_names_of_what_it_is_about(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Ours with values, a library's with its sentence."""
    configure_logs(level="info")
    with bound(trajectory="t-1", call=7, slot="slot-0"):
        get_logger("hermes_trio.x").info("it ran", duration_s=0.5, path=io.StringIO)
    logging.getLogger("httpx").warning("%s is slow", "it")
    ours, theirs = told(capsys)
    assert ours.pop("timestamp").endswith("Z")
    assert ours.pop("path").startswith("<class")
    assert ours == {
        "event": "it ran",
        "level": "info",
        "logger": "hermes_trio.x",
        "trajectory": "t-1",
        "call": 7,
        "slot": "slot-0",
        "duration_s": 0.5,
    }
    assert (theirs["event"], theirs["logger"]) == ("it is slow", "httpx")


def test_libraries_are_heard_from_warnings_on_and_the_audit_log_always(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A run at `info` is not drowned by its HTTP client."""
    configure_logs(level="info")
    logging.getLogger("httpx").info("HTTP Request")
    configure_logs(level="warning")
    get_logger("hermes_trio.x").info("quiet")
    get_logger("hermes_trio.audit").info("a console was used", who="me")
    configure_logs(level="error")
    get_logger("hermes_trio.audit").info("not even this")
    assert [each["event"] for each in told(capsys)] == ["a console was used"]


@pytest.mark.parametrize("form", ["json", "pretty"])
def test_a_token_never_appears(capsys: pytest.CaptureFixture[str], form: str) -> None:
    """In sentences, values, objects, URLs, exceptions, their causes and their groups."""
    keep_secret(TOKEN)
    configure_logs(level="debug", form=form)
    logger = get_logger("hermes_trio.x")

    class Holder:
        def __repr__(self) -> str:
            return f"<Holder {TOKEN}>"

    logger.info(f"said {TOKEN}", url=f"ws://x:{TOKEN}@host?token={TOKEN}", headers={"a": [Holder(), TOKEN]})
    logging.getLogger("lib").error("failed with %r", {"Authorization": f"Bearer {TOKEN}"})
    try:
        try:
            raise ValueError(f"Authorization: Bearer {TOKEN}")
        except ValueError as error:
            raise ExceptionGroup("both", [error, KeyError(TOKEN)]) from error
    except ExceptionGroup:
        logger.exception("crashed")
        logging.getLogger("lib").exception("crashed too")
    written = capsys.readouterr().err
    assert TOKEN not in written
    assert "ExceptionGroup: both" in written
    assert written.count("[redacted]") > 8


@pytest.mark.parametrize("form", ["json", "pretty"])
def test_hostile_text_is_bounded_and_cannot_command_a_terminal(
    capsys: pytest.CaptureFixture[str], form: str
) -> None:
    """Escape sequences, half a surrogate pair, a megabyte, an integer of a thousand digits."""
    configure_logs(level="info", form=form)
    deep: Any = ["end"]
    for _ in range(50):
        deep = [deep]
    get_logger("hermes_trio.x").error(
        "told \x1b]0;title\x07 \udcff", text="x" * 1_000_000, number=10**1000, deep=deep, event="mine"
    )
    written = capsys.readouterr().err
    assert "\x1b]" not in written
    assert "\\udcff" in written.replace("\\\\", "\\").replace("xdcff", "udcff")
    assert len(written) < 20_000
    assert "Logging error" not in written


def test_a_terminal_gets_lines_for_people(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a file gets JSON, without being asked."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    configure_logs(level="info")
    get_logger("hermes_trio.x").info("it ran", trajectory="t-1")
    written = capsys.readouterr().err
    assert "it ran" in written
    assert "\x1b[" in written
    assert not written.startswith("{")


@pytest.mark.parametrize(("level", "form", "says"), [("loud", "auto", "level"), ("info", "xml", "form")])
def test_what_is_no_setting_is_refused(level: str, form: str, says: str) -> None:
    """It names the field."""
    with pytest.raises(InvalidInputError, match=says):
        configure_logs(level=level, form=form)
