"""What becomes of one call."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hermes_trio.agents.answer import CallRequest
from hermes_trio.agents.plan import LocalAnswer, Plan, Refusal, is_error, plan_call
from hermes_trio.errors import Provenance
from hermes_trio.tools.calls import ToolCall, ToolResult
from hermes_trio.tools.registry import ToolRegistry, default_registry
from hermes_trio.tools.schema import ToolSchema
from hermes_trio.tools.todo import TodoStore


def _plan(name: str, arguments: str, tools: ToolRegistry | None = None) -> Plan:
    request = CallRequest(name=name, arguments=arguments, call_id="c1", raw_text="raw")
    return plan_call(request, default_registry() if tools is None else tools, TodoStore())


def test_a_good_call_is_to_be_run_under_its_own_id() -> None:
    """The id of the transcript is the id of the call."""
    assert _plan("bash", '{"command": "ls"}') == ToolCall(
        "bash", {"command": "ls"}, uniq_id="c1", raw_text="raw"
    )


def test_an_unknown_tool_is_refused_with_the_available_ones() -> None:
    """Sorted, so that the same mistake reads the same."""
    plan = _plan("python", "{}")
    assert isinstance(plan, Refusal)
    assert plan.error == "Unknown tool 'python'"
    known = "bash, edit_file, list_files, read_file, search_files, terminal, write_file"
    assert plan.told == f"Unknown tool 'python'. Available tools: {known}."


def test_without_tools_the_refusal_says_none() -> None:
    """An empty list would read like a cut text."""
    plan = _plan("bash", "{}", ToolRegistry())
    assert isinstance(plan, Refusal)
    assert plan.told.endswith("Available tools: none.")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ('{"command": "ls"', "not valid JSON: Expecting ',' delimiter at line 1 column 17 (char 16)"),
        ('{"command":\n ls}', "not valid JSON: Expecting value at line 2 column 2 (char 13)"),
        ('{"command": NaN}', "not valid JSON: NaN is not a JSON value"),
        ("[" * 100_000, "not valid JSON"),
        ("1" * 10_000, "not valid JSON"),
        ('["ls"]', "must be a JSON object"),
        ("null", "must be a JSON object"),
        ("{}", "do not fit: 'command' is required"),
        ("", "do not fit: 'command' is required"),
        ('{"command": 3}', "do not fit: 'command' must be string, not integer"),
    ],
    ids=range(10),
)
def test_bad_arguments_are_refused_with_what_is_wrong(arguments: str, says: str) -> None:
    """The position is in the text, and nothing is run with made-up arguments."""
    plan = _plan("bash", arguments)
    assert isinstance(plan, Refusal)
    assert says in plan.error
    assert "Nothing was run" in plan.told


def test_todo_is_answered_by_the_loop_whether_offered_or_not() -> None:
    """It needs no sandbox, so there is no reason to refuse it."""
    plan = _plan("todo", '{"todos": [{"id": "a", "content": "A"}]}')
    assert isinstance(plan, LocalAnswer)
    assert json.loads(plan.content)["summary"]["total"] == 1


def test_bad_todo_arguments_are_refused_like_any_others() -> None:
    """A list of strings is no list of items."""
    plan = _plan("todo", '{"todos": ["a"]}')
    assert isinstance(plan, Refusal)
    assert "'todos[0]' must be object, not string" in plan.error


@pytest.mark.parametrize("name", ["memory", "session_search"])
@pytest.mark.parametrize("offered", [True, False])
def test_memory_and_session_search_are_not_available(name: str, offered: bool) -> None:
    """Models trained in the ancestor call them."""
    plan = _plan(name, "{}", ToolRegistry([ToolSchema(name)] if offered else []))
    assert isinstance(plan, LocalAnswer)
    assert "not available" in json.loads(plan.content)["error"]


@pytest.mark.parametrize("name", ["todo", "memory"])
def test_an_external_tool_of_the_same_name_is_run(name: str) -> None:
    """Who registers one means it."""
    plan = _plan(name, "{}", ToolRegistry([ToolSchema(name, external=True)]))
    assert isinstance(plan, ToolCall)


@pytest.mark.parametrize(
    ("metadata", "error", "provenance", "counts"),
    [
        ({"exit_code": 1}, "Exit code: 1", Provenance.TOOL_ERROR, False),
        ({"exit_code": -1}, "Command timed out after 1s", Provenance.LIMIT_EXCEEDED, True),
        ({"exit_code": -1}, "", Provenance.OK, False),
        ({}, "File not found: x", Provenance.TOOL_ERROR, False),
        ({}, "no", Provenance.DENIED, True),
        ({}, "no", Provenance.INVALID_REQUEST, True),
        ({}, "gone", Provenance.SANDBOX_LOST, True),
        ({}, "no answer within 1 s", Provenance.LIMIT_EXCEEDED, True),
        ({"exception": "ValueError"}, "ValueError: x", Provenance.TOOL_ERROR, True),
    ],
)
def test_limits_refusals_and_failures_count_as_tool_errors(
    metadata: dict[str, Any], error: str, provenance: Provenance, counts: bool
) -> None:
    """A command that exits with a status does not."""
    result = ToolResult(not error, error=error, metadata=metadata, provenance=provenance)
    assert is_error(result) is counts
