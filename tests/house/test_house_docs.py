"""The documentation tells the truth where a machine can see it: code, names, links, commands."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest
from house import pages, sources
from house.pages import Block

from hermes_trio.rollouts.tasks import parse_tasks

# Signatures in the notation of a contract, not code.
_NOTATION = {"docs/design/spine.md"}
_PYTHON = [block for block in pages.blocks("python") if block.page not in _NOTATION]
_TASKS = [block for block in pages.blocks("json", "jsonl") if '"verifier"' in block.code]
_SHELL = pages.blocks("bash", "sh", "console")


def _id(block: Block) -> str:
    return block.where


def _parse(block: Block) -> ast.Module:
    compiled = compile(
        block.code,
        block.where,
        "exec",
        flags=ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
        dont_inherit=True,
    )
    assert isinstance(compiled, ast.Module)
    return compiled


def _imported(tree: ast.Module) -> dict[str, str]:
    """Local name -> dotted name, for everything of ours that the block imports."""
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                found.update({alias.asname or alias.name.split(".")[0]: alias.name for alias in names})
            case ast.ImportFrom(module=str(base), names=names):
                found.update({alias.asname or alias.name: f"{base}.{alias.name}" for alias in names})
            case _:
                pass
    return {
        local: name
        for local, name in found.items()
        if name.split(".")[0] in {"hermes_trio", "sandbox_daemon"}
    }


def _resolves(dotted: str) -> bool:
    """Whether it is a module, or an attribute of one."""
    try:
        importlib.import_module(dotted)
    except ModuleNotFoundError:
        base, _, name = dotted.rpartition(".")
        return bool(base) and hasattr(importlib.import_module(base), name)
    return True


@pytest.mark.parametrize("block", _PYTHON, ids=_id)
def test_python_in_the_documentation_is_python(block: Block) -> None:
    """Parts may await at top level; programs are run by tests/system/test_docs_programs.py."""
    _parse(block)


@pytest.mark.parametrize("block", _PYTHON, ids=_id)
def test_names_of_ours_in_the_documentation_exist(block: Block) -> None:
    """Imports, and attributes of imported modules such as ``ht.open_executor``."""
    tree = _parse(block)
    imported = _imported(tree)
    used = {
        f"{imported[node.value.id]}.{node.attr}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in imported
    }
    missing = sorted(name for name in {*imported.values(), *used} if not _resolves(name))
    assert not missing


@pytest.mark.parametrize("block", _TASKS, ids=_id)
def test_task_lines_in_the_documentation_are_task_lines(block: Block) -> None:
    """What a reader copies into a file is a file that can be run, without a model of their own."""
    tasks = parse_tasks(block.code.encode(), source=block.where)
    assert all(task.reference for task in tasks)


@pytest.mark.parametrize("block", _SHELL, ids=_id)
def test_scripts_named_in_shell_blocks_exist(block: Block) -> None:
    """``./run.sh`` on a page is a file in the checkout, and can be run."""
    named = set(re.findall(r"(?:^|\s)\./([\w./-]+)", block.code))
    broken = [name for name in named if not (sources.ROOT / name).stat().st_mode & 0o100]
    assert not broken


@pytest.mark.parametrize("page", pages.pages(), ids=lambda page: page.relative_to(sources.ROOT).as_posix())
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    """Relative links only: what is elsewhere is not ours to promise."""
    broken = []
    for target in pages.links(page):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, fragment = target.partition("#")
        goal = (page.parent / path).resolve() if path else page
        if not goal.exists() or (fragment and goal.suffix == ".md" and fragment not in pages.anchors(goal)):
            broken.append(target)
    assert not broken


def test_every_page_can_be_reached_from_the_index() -> None:
    """A page that nothing links to is read by nobody."""
    reached: set[Path] = set()
    todo = [sources.ROOT / "README.md", sources.ROOT / "docs" / "index.md"]
    while todo:
        page = todo.pop()
        if page in reached or not page.exists():
            continue
        reached.add(page)
        targets = (
            target.partition("#")[0] for target in pages.links(page) if not re.match(r"[a-z]+:", target)
        )
        todo += [(page.parent / target).resolve() for target in targets if target.endswith(".md")]
    lost = sorted(page.relative_to(sources.ROOT).as_posix() for page in set(pages.pages()) - reached)
    assert not lost
