"""Reads the source tree: files, modules, imports and functions, by syntax only."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from house import rooms

ROOT = Path(__file__).resolve().parents[2]

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, kw_only=True)
class Module:
    """One Python file of the tree."""

    name: str
    """Dotted, as it is imported."""
    path: Path
    tree: ast.Module
    lines: int

    @property
    def where(self) -> str:
        """The path as people write it, relative to the checkout."""
        return self.path.relative_to(ROOT).as_posix()

    @property
    def is_package(self) -> bool:
        """Whether it is the ``__init__`` of a directory."""
        return self.path.name == "__init__.py"

    @property
    def docstring(self) -> str:
        """The module's docstring; empty when there is none."""
        return ast.get_docstring(self.tree) or ""


@dataclass(frozen=True, kw_only=True)
class Function:
    """One function or method, with the names of what encloses it."""

    module: Module
    node: FunctionNode
    scopes: tuple[str, ...]
    """Enclosing classes and functions, outermost first."""
    nested: bool
    """Defined inside another function."""
    owner: ast.ClassDef | None

    @property
    def qualname(self) -> str:
        """Dotted name within the module."""
        return ".".join([*self.scopes, self.node.name])

    @property
    def where(self) -> str:
        """For messages: file, line, name."""
        return f"{self.module.where}:{self.node.lineno} {self.qualname}"

    @property
    def lines(self) -> int:
        """From ``def`` to the last line, docstring excluded."""
        body = self.node.body
        first = self.node.lineno
        last = self.node.end_lineno or first
        docstring = body[0] if ast.get_docstring(self.node, clean=False) is not None else None
        return last - first + 1 - (_span(docstring) if docstring is not None else 0)


def _span(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def _module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def read_module(path: Path) -> Module:
    """Parse one file, once."""
    text = path.read_text(encoding="utf-8")
    return Module(
        name=_module_name(path),
        path=path,
        tree=ast.parse(text, filename=str(path)),
        lines=text.count("\n"),
    )


def modules(*directories: str) -> tuple[Module, ...]:
    """All modules below the named directories of the checkout, in order of their paths."""
    return tuple(
        read_module(path) for directory in directories for path in sorted((ROOT / directory).rglob("*.py"))
    )


def product_modules() -> tuple[Module, ...]:
    """All modules of the two packages."""
    return modules(*rooms.PACKAGES)


def pure_modules() -> tuple[Module, ...]:
    """All modules that must be pure: by the table, or because their docstring says so."""
    return tuple(module for module in product_modules() if is_pure(module))


def is_pure(module: Module) -> bool:
    """Whether a table or the module's own docstring calls it pure."""
    named = is_pure_by_table(module) or module.name in rooms.PURE_INSIDE
    return named or re.search(r"\bPURE\b", module.docstring) is not None


def is_pure_by_table(module: Module) -> bool:
    """Whether it is in a room that the architecture wants pure as a whole."""
    return any(module.name == name or module.name.startswith(f"{name}.") for name in rooms.PURE)


def imports(module: Module) -> Iterator[tuple[int, str]]:
    """Every import anywhere in the module as line and absolute dotted name.

    ``from a.b import c`` gives ``a.b.c``: whether ``c`` is a module or a name, the arrow starts at ``a.b``.
    Imports under ``TYPE_CHECKING`` count: an arrow is about who must know whom.
    """
    for node in ast.walk(module.tree):
        match node:
            case ast.Import(names=names):
                for alias in names:
                    yield node.lineno, alias.name
            case ast.ImportFrom(module=base, names=names, level=level):
                parent = _absolute(module, base, level)
                for alias in names:
                    yield node.lineno, f"{parent}.{alias.name}" if parent else alias.name
            case _:
                pass


def _absolute(module: Module, base: str | None, level: int) -> str:
    if level == 0:
        return base or ""
    parts = module.name.split(".")
    anchor = parts if module.is_package else parts[:-1]
    kept = anchor[: len(anchor) - (level - 1)]
    return ".".join([*kept, *([base] if base else [])])


def functions(module: Module) -> Iterator[Function]:
    """Every function and method of the module, nested ones included."""
    yield from _functions(module, module.tree.body, scopes=(), nested=False, owner=None)


def _functions(
    module: Module, body: list[ast.stmt], *, scopes: tuple[str, ...], nested: bool, owner: ast.ClassDef | None
) -> Iterator[Function]:
    for node in body:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                yield Function(module=module, node=node, scopes=scopes, nested=nested, owner=owner)
                yield from _functions(module, node.body, scopes=(*scopes, node.name), nested=True, owner=None)
            case ast.ClassDef():
                yield from _functions(
                    module, node.body, scopes=(*scopes, node.name), nested=nested, owner=node
                )
            case ast.If() | ast.With() | ast.Try():
                inner = [
                    statement for statement in ast.iter_child_nodes(node) if isinstance(statement, ast.stmt)
                ]
                yield from _functions(module, inner, scopes=scopes, nested=nested, owner=owner)
            case _:
                pass


def tracked_files() -> tuple[Path, ...]:
    """Every file under version control.

    ``safe.directory``: a checkout that belongs to somebody else than the one who runs the tests is fine here,
    because who runs them trusts it anyway.
    """
    listing = subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True
    )
    paths = (ROOT / name for name in listing.stdout.decode().split("\0") if name)
    return tuple(path for path in paths if path.is_file())
