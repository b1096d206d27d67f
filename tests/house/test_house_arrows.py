"""The import arrows of the architecture point down only."""

from __future__ import annotations

import ast
import sys

import pytest
from house import rooms, sources
from house.sources import Module


def _room(name: str) -> str:
    """``hermes_trio.wire.codec`` -> ``wire``; the package itself -> ``""``."""
    return name.split(".")[1] if "." in name else ""


def _is_allowed(source: str, target: str) -> bool:
    room = _room(target)
    if room in {source, *rooms.EVERYWHERE}:
        return True
    below = target.split(".", 1)[1]
    return any(below == entry or below.startswith(f"{entry}.") for entry in rooms.ARROWS[source])


def _forbidden_in_runtime(module: Module) -> list[str]:
    source = _room(module.name)
    found = []
    for line, target in sources.imports(module):
        top = target.split(".")[0]
        if top == rooms.DAEMON:
            found.append(
                f"{module.where}:{line} imports {target}: the runtime starts the daemon as a program"
            )
        elif top == rooms.RUNTIME and not (_room(target) and _is_allowed(source, target)):
            found.append(f"{module.where}:{line} ({source}) imports {target}")
    return found


def _forbidden_in_daemon(module: Module) -> list[str]:
    return [
        f"{module.where}:{line} imports {target}"
        for line, target in sources.imports(module)
        if target.split(".")[0] == rooms.RUNTIME and _room(target) not in rooms.DAEMON_MAY_IMPORT
    ]


def _runtime_modules() -> list[Module]:
    """All but the package's own ``__init__``, which names everything and imports nothing."""
    return [module for module in sources.modules(rooms.RUNTIME) if module.name != rooms.RUNTIME]


def test_every_room_of_the_runtime_is_in_the_table() -> None:
    """A room that the table does not know has no arrows, and nobody decided that."""
    unknown = {_room(module.name) for module in _runtime_modules()} - set(rooms.ARROWS)
    assert not unknown, f"add to ARROWS in scripts/house/rooms.py: {sorted(unknown)}"


def test_runtime_rooms_import_only_what_lies_below_them() -> None:
    """Each import of ours in the runtime is an arrow of the table."""
    known = [module for module in _runtime_modules() if _room(module.name) in rooms.ARROWS]
    found = [line for module in known for line in _forbidden_in_runtime(module)]
    assert not found, "\n".join(found)


def test_the_daemon_shares_only_wire_link_and_errors_with_the_runtime() -> None:
    """The daemon is a program of its own."""
    found = [line for module in sources.modules(rooms.DAEMON) for line in _forbidden_in_daemon(module)]
    assert not found, "\n".join(found)


def test_the_package_itself_imports_nothing_of_ours_at_module_level() -> None:
    """``import hermes_trio`` stays cheap: the public names are loaded when they are first used."""
    package = sources.read_module(sources.ROOT / rooms.RUNTIME / "__init__.py")
    statements = {node.lineno for node in package.tree.body if isinstance(node, ast.Import | ast.ImportFrom)}
    eager = [
        target
        for line, target in sources.imports(package)
        if line in statements and target.split(".")[0] in rooms.PACKAGES
    ]
    assert not eager, f"{package.where}: {eager}"


def test_what_runs_inside_a_slot_needs_only_the_standard_library() -> None:
    """The agent runs under ``python3 -I -S``: nothing else can be imported there."""
    found = [
        f"{module.where}:{line} imports {target}"
        for module in sources.modules(rooms.DAEMON)
        if module.name.startswith(rooms.AGENT) and module.name not in rooms.AGENT_OUTSIDE
        for line, target in sources.imports(module)
        if target.split(".")[0] not in sys.stdlib_module_names and not target.startswith(rooms.AGENT)
    ]
    assert not found, "\n".join(found)


def test_asyncio_stays_in_the_bridge_and_in_the_benchmark_arms() -> None:
    """The product is a Trio program; asyncio has two places and their tests."""
    everything = sources.modules(*rooms.PACKAGES, "benchmarks", "scripts", "tests")
    found = [
        f"{module.where}:{line}"
        for module in everything
        if not module.where.startswith(rooms.ASYNCIO_ALLOWED)
        for line, target in sources.imports(module)
        if target.split(".")[0] == "asyncio"
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("source", "target", "allowed"),
    [
        ("executor", "hermes_trio.slots.table.SlotTable", True),
        ("executor", "hermes_trio.wire.frames.Call", True),
        ("executor", "hermes_trio.executor.plan.Plan", True),
        ("fleet", "hermes_trio.backends.base.Backend", True),
        ("fleet", "hermes_trio.backends.local.LocalBackend", False),
        ("backends", "hermes_trio.fleet.fleet.Fleet", False),
        ("testing", "hermes_trio.agents.loop.AgentLoop", False),
        ("testing", "hermes_trio.agents.prompt.task_id_of", True),
        ("link", "hermes_trio.telemetry.histogram.LogHistogram", True),
        ("wire", "hermes_trio.link.message.MessageLink", False),
        ("slots", "hermes_trio.executor.Executor", False),
    ],
)
def test_an_arrow_is_allowed_when_it_points_down(source: str, target: str, allowed: bool) -> None:
    """The reading of the table itself, on examples."""
    assert _is_allowed(source, target) is allowed
