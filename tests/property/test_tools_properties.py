"""Any arguments, any graph of toolsets, any output."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hermes_trio.errors import InvalidInputError
from hermes_trio.tools.arguments import argument_problems
from hermes_trio.tools.calls import ToolResult
from hermes_trio.tools.registry import BUILTIN_TOOLS
from hermes_trio.tools.render import result_to_content, result_to_xml
from hermes_trio.tools.todo import TODO, TodoStore
from hermes_trio.tools.toolsets import Toolset, resolve_names

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from("abcde")
GRAPHS = st.dictionaries(
    NAMES,
    st.builds(
        Toolset,
        tools=st.lists(st.text(max_size=2)).map(tuple),
        includes=st.lists(NAMES, max_size=3).map(tuple),
    ),
    min_size=1,
)


@given(st.sampled_from(BUILTIN_TOOLS), st.data())
def test_any_arguments_are_judged_in_words(schema: Any, data: st.DataObject) -> None:
    """Never an exception; and what passes has every required argument."""
    names = st.sampled_from([*schema.parameters, "other"])
    arguments = data.draw(st.dictionaries(names, VALUES))
    problems = argument_problems(schema, arguments)
    assert all(isinstance(problem, str) and problem for problem in problems)
    assert problems or set(schema.required) <= set(arguments)


@given(st.lists(st.dictionaries(st.sampled_from(list(TODO.parameters)), VALUES), max_size=5))
def test_todo_takes_whatever_its_schema_lets_pass(calls: list[dict[str, Any]]) -> None:
    """The answer is always JSON with a list."""
    store = TodoStore()
    for arguments in calls:
        if not argument_problems(TODO, arguments):
            assert isinstance(json.loads(store.apply(arguments))["todos"], list)


class _Anything:
    """Every tool exists."""

    def __contains__(self, name: object) -> bool:
        return True


@given(GRAPHS, st.lists(NAMES, max_size=3))
def test_any_graph_of_toolsets_resolves_or_is_refused(graph: dict[str, Toolset], names: list[str]) -> None:
    """Never an endless walk, never a tool twice."""
    try:
        tools = resolve_names(names, graph, _Anything())
    except InvalidInputError:
        return
    assert len(set(tools)) == len(tools)


@given(st.text(), st.text())
def test_any_output_survives_both_renderings(output: str, error: str) -> None:
    """And none of it leaves its place."""
    result = ToolResult(False, output, error)
    assert json.loads(result_to_content(result)) == {"output": output, "error": error or None}
    xml = result_to_xml(result)
    inner = json.loads(xml.removeprefix("<tool_response>").removesuffix("</tool_response>"))
    assert inner.get("output", "") == output
    assert xml.count("<") == 2
