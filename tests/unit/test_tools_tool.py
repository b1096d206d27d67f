"""A tool as a registry holds it."""

from __future__ import annotations

from typing import Any, Never

import pytest

from hermes_trio.errors import InvalidInputError
from hermes_trio.tools.calls import ToolCall
from hermes_trio.tools.registry import ToolRegistry
from hermes_trio.tools.sandbox_tools import BASH
from hermes_trio.tools.schema import ToolSchema
from hermes_trio.tools.tool import Tool, ToolContext


def handler(call: ToolCall, context: ToolContext) -> Never:
    """Never run here."""
    raise AssertionError


@pytest.mark.parametrize(
    ("tool", "in_slot"),
    [
        (Tool(BASH), True),
        (Tool(ToolSchema("web", external=True)), False),
        (Tool(ToolSchema("mine"), handler=handler), False),
    ],
    ids=["sandbox", "external", "handler"],
)
def test_where_a_tool_runs_is_said_by_its_schema_and_its_handler(tool: Tool, in_slot: bool) -> None:
    """A slot runs what nobody else does."""
    assert tool.runs_in_slot is in_slot


def test_a_tool_may_be_called_otherwise_than_it_is_known() -> None:
    """By default the names are the same."""
    assert (Tool(BASH).name, Tool(BASH).runs_as) == ("bash", "bash")
    assert Tool(ToolSchema("sh"), known_as="bash").runs_as == "bash"


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"limit_s": 0}, "limit_s"),
        ({"limit_s": float("nan")}, "limit_s"),
        ({"max_output_chars": -1}, "max_output_chars"),
    ],
)
def test_a_limit_that_is_not_positive_is_refused(members: dict[str, Any], field: str) -> None:
    """The sentence names tool and field."""
    with pytest.raises(InvalidInputError, match=f"field '{field}': tool 'bash': must be positive"):
        Tool(BASH, **members)


def test_an_external_tool_has_no_handler() -> None:
    """It would never be run."""
    with pytest.raises(InvalidInputError, match="has a handler and is external"):
        Tool(ToolSchema("web", external=True), handler=handler)


def test_a_registry_takes_tools_and_bare_schemas() -> None:
    """And gives back both, in order."""
    mine = Tool(ToolSchema("mine"), handler=handler)
    registry = ToolRegistry([BASH, mine])
    assert tuple(registry) == (Tool(BASH), mine)
    assert registry.schemas() == (BASH, mine.schema)
    assert registry.tool("mine") is mine
    assert registry.tool("nope") is registry.get("nope") is None
