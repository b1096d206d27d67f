"""Python functions as tools, and the boundary that they are run behind."""

from __future__ import annotations

import enum
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import Annotated, Any, Literal

import msgspec
import pytest
import trio
import trio.testing

from hermes_trio.errors import InvalidInputError, Provenance
from hermes_trio.tools.arguments import argument_problems
from hermes_trio.tools.calls import ToolCall, ToolResult
from hermes_trio.tools.functions import python_tool
from hermes_trio.tools.run import run_handler
from hermes_trio.tools.tool import Tool, ToolContext
from hermes_trio.tools.wrappers import limited


class Unit(enum.Enum):
    """A choice."""

    METRE = "m"
    FOOT = "ft"


@dataclass
class Point:
    """An object."""

    x: int
    y: int = 0


async def measure(
    start: Point,
    unit: Unit = Unit.METRE,
    tags: list[str] | None = None,
    *,
    how: Literal["fast", "exact"] = "fast",
) -> dict[str, Any]:
    """Measure a distance.

    From the origin.

    Args:
        start: Where to begin.
        unit: Of the result.
        tags: To find it by.
        how: With which effort.
    """
    await trio.lowlevel.checkpoint()
    return {"x": start.x, "unit": unit, "tags": tags, "how": how}


def add(a: int, b: int = 1) -> int:
    """Add two numbers."""
    return a + b


async def run(tool: Tool, limit_s: float = 5.0, **arguments: Any) -> ToolResult:
    """One call whose arguments fit."""
    assert argument_problems(tool.schema, arguments) == ()
    return await run_handler(tool, ToolCall(tool.name, arguments, uniq_id="u"), ToolContext(limit_s=limit_s))


def test_the_schema_comes_from_annotations_and_docstring() -> None:
    """Types, choices, defaults and words; nothing else may be given."""
    schema = python_tool(measure).schema
    assert schema.name == "measure"
    assert schema.description == "Measure a distance.\n\nFrom the origin."
    assert schema.required == ("start",)
    assert schema.parameters["start"]["description"] == "Where to begin."
    assert schema.parameters["how"] == {
        "enum": ["exact", "fast"],
        "description": "With which effort.",
        "default": "fast",
    }
    good = {"start": {"x": 1}, "unit": "ft", "tags": ["a"]}
    assert argument_problems(schema, good) == ()
    assert argument_problems(schema, {"start": {"x": "1"}}) == ("'start.x' must be integer, not string",)
    assert argument_problems(schema, {**good, "strat": 1}) == ("'strat' is not known",)
    assert argument_problems(schema, {**good, "unit": "mile"}) == ("'unit' must be one of ft, m",)


def test_name_and_description_may_be_given() -> None:
    """And a description in the annotation wins over the docstring."""

    def f(a: Annotated[int, msgspec.Meta(description="mine")]) -> None:
        """F.

        Args:
            a: theirs
        """

    schema = python_tool(f, name="g", description="G.").schema
    assert (schema.name, schema.description, schema.parameters["a"]["description"]) == ("g", "G.", "mine")


async def test_arguments_arrive_as_the_annotated_types() -> None:
    """And what is not given is left to the function."""
    result = await run(python_tool(measure), start={"x": 1}, unit="ft")
    assert result == ToolResult(True, '{"x": 1, "unit": "ft", "tags": null, "how": "fast"}', uniq_id="u")


@pytest.mark.parametrize(
    ("returned", "output"),
    [
        ("text", "text"),
        (None, ""),
        (3, "3"),
        ([1, "é"], '[1, "é"]'),
        (Point(1, 2), '{"x": 1, "y": 2}'),
        ({1: date(2026, 1, 2)}, '{"1": "2026-01-02"}'),
    ],
)
async def test_what_is_returned_is_the_output(returned: Any, output: str) -> None:
    """Text as it is, nothing as nothing, the rest as JSON."""
    assert (await run(python_tool(lambda: returned, name="f"))).output == output


async def test_a_result_is_taken_as_it_is() -> None:
    """For functions that have more to say."""
    mine = ToolResult(False, error="no", metadata={"n": 1}, provenance=Provenance.TOOL_ERROR)
    result = await run(python_tool(lambda: mine, name="f"))
    assert (result.error, result.metadata, result.uniq_id) == ("no", {"n": 1}, "u")


async def test_a_parameter_for_the_context_is_not_the_models() -> None:
    """It gets what the executor knows."""

    def where(context: ToolContext) -> str:
        return context.trajectory_id

    tool = python_tool(where)
    assert tool.schema.parameters == {}
    call = ToolCall("where", {})
    assert (await run_handler(tool, call, ToolContext(trajectory_id="t"))).output == "t"


async def test_a_synchronous_function_runs_in_a_thread() -> None:
    """The loop goes on meanwhile."""
    names: list[str] = []
    assert (await run(python_tool(lambda: names.append(threading.current_thread().name), name="f"))).success
    assert names != [threading.current_thread().name]
    assert (await run(python_tool(add), a=2)).output == "3"


async def test_partials_and_objects_are_functions_too() -> None:
    """Asynchronous objects are seen to be asynchronous."""

    class Greeter:
        async def __call__(self, who: str) -> str:
            """Greet."""
            await trio.lowlevel.checkpoint()
            return f"hello {who}"

    assert (await run(python_tool(Greeter(), name="greet"), who="you")).output == "hello you"
    assert (await run(python_tool(partial(add, b=5), name="add5"), a=1)).output == "6"


def _variadic(*names: str) -> None: ...


def _keywords(**names: str) -> None: ...


def _positional(name: str, /) -> None: ...


def _unknown(name: "Nowhere") -> None: ...  # type: ignore[name-defined]  # noqa: F821, UP037


def _foreign(name: threading.Thread) -> None: ...


@pytest.mark.parametrize("function", [_variadic, _keywords, _positional, _unknown, _foreign, 3])
def test_a_function_that_no_model_could_call_is_refused_by_name(function: Callable[..., Any]) -> None:
    """When the tool is made."""
    with pytest.raises(InvalidInputError, match="tool 'mine'"):
        python_tool(function, name="mine")


async def test_what_json_schema_lets_pass_and_python_does_not_is_the_models_mistake() -> None:
    """A date that there is not."""

    def f(day: date) -> None: ...

    result = await run(python_tool(f), day="2026-02-30")
    assert (result.success, result.provenance) == (False, Provenance.INVALID_REQUEST)
    assert "Invalid RFC3339" in result.error or "day" in result.error


async def test_a_function_that_raises_failed(caplog: pytest.LogCaptureFixture) -> None:
    """The model hears of it, and so does the log."""

    def f() -> None:
        raise ValueError("no such thing")

    with caplog.at_level(logging.ERROR):
        result = await run(python_tool(f))
    assert result.error == "Tool execution failed: ValueError: no such thing"
    assert (result.metadata, result.provenance) == ({"exception": "ValueError"}, Provenance.TOOL_ERROR)
    assert "a tool raised tool=f" in caplog.text


async def test_a_call_past_its_limit_is_ended(autojump_clock: trio.testing.MockClock) -> None:
    """The function is cancelled, and the result says why."""
    ended = trio.Event()

    async def f() -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.set()

    result = await run(python_tool(f), limit_s=3.0)
    assert result == ToolResult(
        False,
        error="f did not end within 3 s.",
        metadata={"timeout": True},
        uniq_id="u",
        provenance=Provenance.LIMIT_EXCEEDED,
    )
    assert ended.is_set()
    assert trio.current_time() == pytest.approx(3.0)


async def test_an_abandoned_thread_keeps_its_place_until_it_ends() -> None:
    """Otherwise functions that hang would pile up threads without end."""
    goes_on, limiter = threading.Event(), trio.CapacityLimiter(1)

    def f() -> None:
        goes_on.wait(10)

    tool = python_tool(f, limiter=limiter)
    result = await run(tool, limit_s=0.02)
    assert result.provenance is Provenance.LIMIT_EXCEEDED
    assert "goes on in the background" in result.error
    assert limiter.borrowed_tokens == 1
    assert (await run(tool, limit_s=0.02)).provenance is Provenance.LIMIT_EXCEEDED
    goes_on.set()
    with trio.fail_after(5):
        assert (await run(tool)).success
    assert limiter.borrowed_tokens == 0


async def test_output_without_end_loses_its_middle() -> None:
    """By default at 200,000 characters, and the metadata say so."""
    result = await run(python_tool(lambda: "x" * 1_000_000, name="f"))
    assert len(result.output) < 200_100
    assert result.metadata == {"truncated": True}
    (small,) = limited([python_tool(lambda: "x" * 1000, name="f")], max_output_chars=10)
    assert (await run(small)).output.startswith("xxxxx\n[... 990 of 1000 characters left out ...]")


async def test_calls_of_limited_tools_wait_for_a_place(autojump_clock: trio.testing.MockClock) -> None:
    """Two tools share two places."""

    async def f() -> None:
        await trio.sleep(1)

    tools = limited([python_tool(f), python_tool(f, name="g")], max_concurrent=2)
    async with trio.open_nursery() as nursery:
        for index in range(6):
            nursery.start_soon(run, tools[index % 2], 60.0)
    assert trio.current_time() == pytest.approx(3.0)
