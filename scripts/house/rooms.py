"""Which room may know which, and which rooms are pure: the tables of the architecture, in one place.

A *room* is a directory or a module directly below one of the two packages: ``hermes_trio.wire`` is the room
``wire``, ``sandbox_daemon.process.runner`` is in the room ``process``.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

RUNTIME: Final = "hermes_trio"
DAEMON: Final = "sandbox_daemon"
PACKAGES: Final = (RUNTIME, DAEMON)

EVERYWHERE: Final = frozenset({"errors", "telemetry"})
"""Rooms that everybody may import and that import nothing of ours."""

_LINK: Final = frozenset({"wire"})
_BACKENDS: Final = _LINK | {"link"}
_FLEET: Final = _LINK | {"link", "backends.base"}
_SLOTS: Final = _FLEET | {"fleet"}
# A ToolServer listens and checks tokens in the ways of everything that does.
_TOOLS: Final = frozenset({"wire", "link.asgi", "link.auth", "link.background"})
_EXECUTOR: Final = _SLOTS | {"slots", "tools"}
_MODELS: Final = frozenset({"tools"})
_AGENTS: Final = _EXECUTOR | {"executor", "models"}
_ROLLOUTS: Final = _AGENTS | {"agents"}
_FACES: Final = _ROLLOUTS | {"rollouts", "backends"}

ARROWS: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "errors": frozenset(),
        "telemetry": frozenset(),
        "wire": frozenset(),
        "link": _LINK,
        # Where daemons come from, and how their links are opened. Nothing that uses daemons.
        "backends": _BACKENDS,
        "fleet": _FLEET,
        "slots": _SLOTS,
        "tools": _TOOLS,
        "executor": _EXECUTOR,
        "models": _MODELS,
        "agents": _AGENTS,
        "rollouts": _ROLLOUTS,
        # The shipped test kit stands above the executor, whose promises its suites are about. Its scripted
        # model is asked in the agents' words, and finds the task by the mark that they put into the prompt.
        "testing": _EXECUTOR | {"executor", "models", "agents.prompt"},
        "bridge": _FACES,
        "api": _FACES,
        # Its page and its websocket are mounted into the API's server, and share its state.
        "console": _FACES | {"api"},
        # The command line starts everything, the scripted model included.
        "cli": _FACES | {"api", "console", "testing"},
        # `python -m hermes_trio` is the command line.
        "__main__": frozenset({"cli"}),
    }
)
"""Room of the runtime -> rooms, or modules of rooms, that it may import besides itself and `EVERYWHERE`."""

DAEMON_MAY_IMPORT: Final = frozenset({"wire", "link", *EVERYWHERE})
"""Rooms of the runtime that the daemon shares with it. The daemon is otherwise a program of its own."""

AGENT: Final = "sandbox_daemon.agent"
"""What runs inside the slots, under an interpreter without site-packages: the standard library only."""

AGENT_OUTSIDE: Final = frozenset({"sandbox_daemon.agent.bundle"})
"""Modules of that room that run in the daemon."""

PURE: Final = (
    "hermes_trio.errors",
    "hermes_trio.wire",
    "hermes_trio.slots.table",
    "hermes_trio.executor.plan",
    "hermes_trio.agents.step",
    "hermes_trio.telemetry.histogram",
)
"""Modules, or packages with all that is in them, whose import is cheap: the packages around them too."""

PURE_INSIDE: Final = (
    "sandbox_daemon.slots.table",
    "sandbox_daemon.isolation.policy",
    "sandbox_daemon.process.report",
)
"""Modules that must be pure in rooms that are not.

To these come all modules that have the word PURE in their docstring: who says it is held to it.
"""

IMPURE_LIBRARIES: Final = frozenset({"trio", "httpx", "asyncio", "trio_websocket", "hypercorn", "anyio"})
"""Not even loaded by the import of a pure module."""

CLOCKS_AND_DICE: Final = frozenset({"time", "random", "secrets", "uuid", "datetime", "threading", "socket"})
"""Not imported by a pure module: time and ids are its arguments."""

ASYNCIO_ALLOWED: Final = (
    "hermes_trio/bridge/",
    "benchmarks/arms/",
    "tests/system/test_bridge_",
    "tests/aio/test_bridge_",
    "tests/system/test_benchmarks_",
)
"""Where asyncio may be imported: the bridge to it, the ancestor's arm of the benchmarks, and their tests."""

MAX_FILE_LINES: Final = 600
"""Above it something is two rooms."""

WANTED_FILE_LINES: Final = 300
"""Above it a file is named in the size report."""
