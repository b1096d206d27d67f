"""Pure rooms: no async, no clock, no randomness; importing them loads no I/O library."""

from __future__ import annotations

import ast
import json
import subprocess
import sys

from house import rooms, sources

_LOADED = """
import importlib, json, sys
for name in json.loads(sys.argv[1]):
    importlib.import_module(name)
print(json.dumps(sorted(set(json.loads(sys.argv[2])) & set(sys.modules))))
"""


def _loaded_by(names: list[str]) -> list[str]:
    """Which I/O libraries a fresh interpreter has loaded once it has imported these modules."""
    command = [sys.executable, "-c", _LOADED, json.dumps(names), json.dumps(sorted(rooms.IMPURE_LIBRARIES))]
    run = subprocess.run(command, cwd=sources.ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    loaded: list[str] = json.loads(run.stdout)
    return loaded


def test_every_name_in_the_table_of_pure_modules_exists() -> None:
    """A table that names nothing checks nothing."""
    names = {module.name for module in sources.product_modules()}
    assert set(rooms.PURE) <= names, f"not there: {sorted(set(rooms.PURE) - names)}"


def test_importing_the_pure_modules_loads_no_io_library() -> None:
    """All at once, because a process for each takes long; one by one only to name the culprit."""
    names = [module.name for module in sources.pure_modules()]
    loaded = _loaded_by(names)
    guilty = [name for name in names if loaded and _loaded_by([name])]
    assert not loaded, f"{loaded} loaded by {guilty}"


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
