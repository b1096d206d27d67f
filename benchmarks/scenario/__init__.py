"""The scenarios, by name. Looking one up imports it; nothing else does."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from hermes_trio.errors import InvalidInputError

if TYPE_CHECKING:
    from benchmarks.scenario.base import Scenario

SCENARIOS = (
    "idle",
    "throughput",
    "batching",
    "stragglers",
    "files",
    "nl2bash",
    "sandbox",
    "kill",
    "floods",
    "transfer",
    "stateful",
    "loops",
    "workspaces",
    "console",
    "http",
)
"""Each is a module of this package with one function, ``make_scenario() -> Scenario``."""


def load_scenario(name: str) -> Scenario:
    """The scenario of this name.

    Raises:
        InvalidInputError: there is none.
    """
    if name not in SCENARIOS:
        known = ", ".join(SCENARIOS)
        raise InvalidInputError(f"no scenario {name!r}; there are {known}", source="bench", field="SCENARIO")
    scenario: Scenario = import_module(f"benchmarks.scenario.{name}").make_scenario()
    return scenario
