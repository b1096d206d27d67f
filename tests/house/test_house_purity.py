"""Pure rooms: no async, no clock, no randomness; importing them loads no I/O library."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterable

from house import rooms, sources

# One interpreter, and a fork for each module: what one import loads must not hide from the next.
_LOADED = """
import importlib, importlib.util, json, os, sys, types
questions, forbidden = json.loads(sys.argv[1]), json.loads(sys.argv[2])
for name, bare in questions:
    if pid := os.fork():
        if os.waitpid(pid, 0)[1]:
            sys.exit(f"{name} cannot be imported")
        continue
    if bare:
        parts = name.split(".")
        for depth in range(1, len(parts)):
            package = types.ModuleType(".".join(parts[:depth]))
            package.__path__ = [os.path.join(*parts[:depth])]
            sys.modules[package.__name__] = package
    importlib.import_module(name)
    if loaded := sorted(set(forbidden) & set(sys.modules)):
        print(name, "loads", *loaded, flush=True)
    os._exit(0)
"""


def _loaded_by(names: Iterable[str], *, bare: bool) -> list[str]:
    """Which modules load I/O libraries in a fresh interpreter, one line each.

    Args:
        names: the modules to import, each in a process of its own.
        bare: without running the ``__init__`` of the packages around it: what a room that is not pure as a
            whole exports is not this module's doing.
    """
    questions, forbidden = [(name, bare) for name in names], sorted(rooms.IMPURE_LIBRARIES)
    run = subprocess.run(
        [sys.executable, "-c", _LOADED, json.dumps(questions), json.dumps(forbidden)],
        cwd=sources.ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()


def test_every_name_in_the_tables_of_pure_modules_exists() -> None:
    """A table that names nothing checks nothing."""
    names = {module.name for module in sources.product_modules()}
    assert {*rooms.PURE, *rooms.PURE_INSIDE} - names == set()


def test_importing_the_pure_rooms_loads_no_io_library() -> None:
    """``import hermes_trio.wire`` is cheap, packages around it included."""
    names = (module.name for module in sources.pure_modules() if sources.is_pure_by_table(module))
    assert _loaded_by(names, bare=False) == []


def test_pure_modules_in_other_rooms_load_no_io_library() -> None:
    """Neither directly nor through what they import."""
    names = (module.name for module in sources.pure_modules() if not sources.is_pure_by_table(module))
    assert _loaded_by(names, bare=True) == []


def test_the_check_sees_what_an_import_loads() -> None:
    """An impure module is caught, as itself and through its package."""
    assert _loaded_by(["hermes_trio.link.pump"], bare=True) != []
    assert _loaded_by(["hermes_trio.wire"], bare=True) == []


def test_pure_modules_have_no_async_code() -> None:
    """Neither async functions nor awaits, nested ones included."""
    found = [
        f"{module.where}:{node.lineno}"
        for module in sources.pure_modules()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith)
    ]
    assert not found, "\n".join(found)


def test_pure_modules_import_neither_clocks_nor_dice() -> None:
    """Time and ids are arguments."""
    forbidden = rooms.CLOCKS_AND_DICE | rooms.IMPURE_LIBRARIES
    found = [
        f"{module.where}:{line} imports {target}"
        for module in sources.pure_modules()
        for line, target in sources.imports(module)
        if target.split(".")[0] in forbidden
    ]
    assert not found, "\n".join(found)
