"""The size report: collected by a test, printed where people look."""

from __future__ import annotations

import pytest

_REPORT = pytest.StashKey[list[str]]()


@pytest.fixture
def house_report(pytestconfig: pytest.Config) -> list[str]:
    """Lines appended here are printed at the end of the run."""
    return pytestconfig.stash.setdefault(_REPORT, [])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the report, if the test that makes it was run."""
    lines = config.stash.get(_REPORT, [])
    if lines:
        terminalreporter.section("size report")
        for line in lines:
            terminalreporter.write_line(line)
