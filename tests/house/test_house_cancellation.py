"""Every public ``async def`` says what cancelling it does, in one of four phrases."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator

import pytest
from house import rooms, sources
from house.sources import Function

PHRASE = re.compile(r"\b(atomic|abandons|poisons|shielded, at most .{1,80}? s\b)", re.IGNORECASE)


def _paragraph(docstring: str) -> str | None:
    """The paragraph that begins with ``Cancellation:``, on one line."""
    match = re.search(r"\bCancellation:(.*?)(?:\n\s*\n|\Z)", docstring, re.DOTALL)
    return " ".join(match.group(1).split()) if match else None


def _has_phrase(docstring: str) -> bool:
    paragraph = _paragraph(docstring)
    return paragraph is not None and PHRASE.search(paragraph) is not None


def _is_public(function: Function) -> bool:
    return not function.nested and not any(
        name.startswith("_") for name in [*function.scopes, function.node.name]
    )


def _is_override(function: Function) -> bool:
    return any("override" in ast.unparse(decorator) for decorator in function.node.decorator_list)


def _public_async_functions() -> Iterator[Function]:
    for module in sources.product_modules():
        for function in sources.functions(module):
            if isinstance(function.node, ast.AsyncFunctionDef) and _is_public(function):
                yield function


def _is_test_case(function: Function) -> bool:
    """The shipped conformance suites are tests, only not in tests/."""
    return "conformance" in function.module.name


def _inherits_it(function: Function) -> bool:
    """An override without words of its own keeps the words of its base, if the base is ours and has them.

    A base from elsewhere (``trio.abc.Stream``) documents its methods in its own way.
    """
    if ast.get_docstring(function.node) is not None or function.owner is None:
        return False
    owner = getattr(importlib.import_module(function.module.name), function.owner.name)
    for base in owner.__mro__[1:]:
        method = vars(base).get(function.node.name)
        if method is not None and inspect.getdoc(method):
            return base.__module__.split(".")[0] not in rooms.PACKAGES or _has_phrase(
                inspect.getdoc(method) or ""
            )
    return False


def test_every_public_async_function_says_what_cancelling_it_does() -> None:
    """One of: atomic; abandons; poisons; shielded, at most N s."""
    silent = [
        function.where
        for function in _public_async_functions()
        if not _is_test_case(function)
        and not _has_phrase(ast.get_docstring(function.node) or "")
        and not _is_override(function)
        and not _inherits_it(function)
    ]
    assert not silent, "\n".join(silent)


@pytest.mark.parametrize(
    ("docstring", "enough"),
    [
        ("Sends.\n\nCancellation: *atomic*.", True),
        ("Sends.\n\nCancellation: *shielded, at most 2 s*; then closed.", True),
        ("Sends.\n\nCancellation:\n    *poisons*: close it.\n\nArgs:\n    x: y", True),
        ("Sends.\n\nCancellation: *abandons* the call.", True),
        ("Sends. Cancellation: atomic.", True),
        ("Opens.\n\nCancellation: shielded, at most ``close_grace_s`` + 25 s: all is gone then.", True),
        ("Sends.\n\nCancellation: works.\n\nReturns: something atomic.", False),
        ("Sends, atomic.", False),
        ("Sends.\n\nCancellation: shielded.", False),
    ],
)
def test_the_paragraph_needs_one_of_the_four_phrases(docstring: str, enough: bool) -> None:
    """The reading of the rule itself, on examples."""
    assert _has_phrase(docstring) is enough


def test_there_is_something_to_check() -> None:
    """An empty walk would pass every rule."""
    assert {function.module.name.split(".")[0] for function in _public_async_functions()} == set(
        rooms.PACKAGES
    )
