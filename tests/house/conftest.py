"""The size report: collected by a test, printed where people look."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

_TITLE = "size report"


@pytest.fixture
def house_report(record_property: Callable[[str, object], None]) -> Iterator[list[str]]:
    """Lines appended here are printed at the end of the run, whichever process the test was in."""
    lines: list[str] = []
    yield lines
    record_property(_TITLE, lines)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the report, if the test that makes it was run."""
    ended = terminalreporter.getreports("")  # the clean-ups, which come after the test
    lines = [
        line for report in ended for name, told in report.user_properties if name == _TITLE for line in told
    ]
    if lines:
        terminalreporter.section(_TITLE)
        for line in lines:
            terminalreporter.write_line(line)
