"""Parsers of tool calls meet any text, cut anywhere."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes_trio.models.parsers import (
    Event,
    ParsedCall,
    ParsedText,
    Problem,
    TextDelta,
    ToolCallParser,
    available_parsers,
    get_parser,
)

Arguments = dict[str, Any]

MARKERS = {
    "deepseek_v3": "<｜tool▁calls▁begin｜> <｜tool▁call▁begin｜> function<｜tool▁sep｜> ```json ``` "
    "<｜tool▁call▁end｜>",
    "deepseek_v3_1": "<｜tool▁calls▁begin｜> <｜tool▁call▁begin｜> <｜tool▁sep｜> <｜tool▁call▁end｜> "
    "<｜tool▁calls▁end｜>",
    "glm45": "<tool_call> </tool_call> <arg_key> </arg_key> <arg_value> </arg_value>",
    "glm47": r"<tool_call> </tool_call> <arg_key> </arg_key> <arg_value> </arg_value> \n \ ",
    "hermes": "<tool_call> </tool_call>",
    "kimi_k2": "<|tool_calls_section_begin|> <|tool_call_begin|> functions.a:0 <|tool_call_argument_begin|> "
    "<|tool_call_end|> <|tool_calls_section_end|>",
    "llama3_json": "<|python_tag|> ; <|eom_id|>",
    "llama_pythonic": "<|python_start|> <|python_end|> [ ] a( ) x= ' ''' \"\"\" \\ ,",
    "longcat": "<longcat_tool_call> </longcat_tool_call> <longcat_think> </longcat_think>",
    "mistral": "[TOOL_CALLS] [CALL_ID] [ARGS] [THINK] [/THINK] [ ]",
    "qwen": "<tool_call> </tool_call> <|im_end|>",
    "qwen3_coder": "<tool_call> </tool_call> <function= </function> <parameter= </parameter> > <function=a>",
}
OF_ALL = [
    "<think>",
    "</think>",
    '{"name": "a"',
    ', "arguments": {',
    '"x": ',
    "1",
    "{",
    "}",
    '"',
    "\\",
    "a",
    "\n",
]


NAMES = st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True)
TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
# Dialects without quotes cannot hold every text: their tags, a line break at the edge.
PLAIN_TEXTS = st.text(
    st.characters(exclude_categories=("Cs", "Zl", "Zp"), exclude_characters="<\r\n"), max_size=20
)
SAID = st.text(st.characters(categories=("L", "N"), include_characters=" \n"), max_size=12)


def _json_values(texts: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    return st.recursive(
        st.none() | st.booleans() | numbers | texts,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
        max_leaves=3,
    )


def _unquoted(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _hermes(name: str, arguments: Arguments) -> str:
    return "<tool_call>\n" + json.dumps({"name": name, "arguments": arguments}) + "\n</tool_call>"


def _glm(name: str, arguments: Arguments, newline: str) -> str:
    pairs = (
        f"<arg_key>{key}</arg_key>{newline}<arg_value>{_unquoted(value)}</arg_value>{newline}"
        for key, value in arguments.items()
    )
    return f"<tool_call>{name}{newline}{''.join(pairs)}</tool_call>"


def _qwen3_coder(name: str, arguments: Arguments) -> str:
    pairs = (f"<parameter={key}>\n{_unquoted(value)}\n</parameter>\n" for key, value in arguments.items())
    return f"<tool_call>\n<function={name}>\n{''.join(pairs)}</function>\n</tool_call>"


def _deepseek(call: str) -> str:
    return f"<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>{call}<｜tool▁call▁end｜><｜tool▁calls▁end｜>"


WRITERS: dict[str, Callable[[str, Arguments], str]] = {
    "deepseek_v3": lambda name, arguments: _deepseek(
        f"function<｜tool▁sep｜>{name}\n```json\n{json.dumps(arguments)}\n```"
    ),
    "deepseek_v3_1": lambda name, arguments: _deepseek(f"{name}<｜tool▁sep｜>{json.dumps(arguments)}"),
    "glm45": lambda name, arguments: _glm(name, arguments, "\n"),
    "glm47": lambda name, arguments: _glm(name, arguments, ""),
    "hermes": _hermes,
    "kimi_k2": lambda name, arguments: (
        f"<|tool_calls_section_begin|><|tool_call_begin|>functions.{name}:0<|tool_call_argument_begin|>"
        f"{json.dumps(arguments, ensure_ascii=False)}<|tool_call_end|><|tool_calls_section_end|>"
    ),
    "llama3_json": lambda name, arguments: (
        "<|python_tag|>" + json.dumps({"name": name, "parameters": arguments})
    ),
    "llama_pythonic": lambda name, arguments: (
        f"<|python_start|>[{name}({', '.join(f'{k}={v!r}' for k, v in arguments.items())})]<|python_end|>"
    ),
    "longcat": lambda name, arguments: _hermes(name, arguments).replace("tool_call>", "longcat_tool_call>"),
    "mistral": lambda name, arguments: f"[TOOL_CALLS]{name}[ARGS]{json.dumps(arguments)}",
    "qwen": _hermes,
    "qwen3_coder": _qwen3_coder,
}
UNQUOTED = {"glm45", "glm47", "qwen3_coder"}


def _calls(dialect: str) -> st.SearchStrategy[list[tuple[str, Arguments]]]:
    values = _json_values(PLAIN_TEXTS if dialect in UNQUOTED else TEXTS)
    return st.lists(st.tuples(NAMES, st.dictionaries(NAMES, values, max_size=3)), min_size=1, max_size=3)


@st.composite
def _hostile(draw: st.DrawFn, dialect: str) -> str:
    """Markers and pieces of JSON in any order, or a call with something cut out and something put in."""
    pieces = st.lists(
        st.sampled_from([*MARKERS[dialect].split(" "), *OF_ALL]) | st.text(max_size=3), max_size=20
    ).map("".join)
    if draw(st.booleans()):
        return draw(pieces)
    text = "".join(WRITERS[dialect](name, {"x": "1", "y": {"z": [True]}}) for name in ("a", "b"))
    start, end = sorted(draw(st.tuples(*[st.integers(min_value=0, max_value=len(text))] * 2)))
    return text[:start] + draw(pieces) + text[end if draw(st.booleans()) else start :]


def _type_of(value: Any) -> str:
    names = {
        type(None): "null",
        bool: "boolean",
        int: "integer",
        float: "number",
        str: "string",
        list: "array",
    }
    return names.get(type(value), "object")


def _tools(calls: Iterable[tuple[str, Arguments]]) -> list[dict[str, Any]]:
    """Schemas that say what the arguments are; the last of one name counts."""
    return [
        {"name": name, "parameters": {"properties": {k: {"type": _type_of(v)} for k, v in arguments.items()}}}
        for name, arguments in calls
    ]


def _streamed(parser: ToolCallParser, pieces: Iterable[str]) -> ParsedText:
    session = parser.session()
    events: list[Event] = [event for piece in pieces for event in session.feed(piece)]
    events += session.finish()
    calls = tuple(event for event in events if isinstance(event, ParsedCall))
    content = "".join(event.text for event in events if isinstance(event, TextDelta))
    problems = tuple(event for event in events if isinstance(event, Problem))
    return ParsedText(content=None if calls and not content else content, calls=calls, problems=problems)


def _cut(text: str, cuts: Iterable[int]) -> list[str]:
    borders = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    return [text[start:end] for start, end in pairwise(borders)]


CUTS = st.lists(st.integers(min_value=0, max_value=1000), max_size=12)


def test_every_dialect_is_tried() -> None:
    """A new one needs its markers, and somebody who writes it."""
    assert tuple(MARKERS) == tuple(WRITERS) == available_parsers()


@pytest.mark.parametrize("dialect", MARKERS)
@given(data=st.data())
def test_no_text_makes_a_parser_raise_however_it_is_cut(dialect: str, data: st.DataObject) -> None:
    """Content, calls and problems are the same; without a call the text comes back untouched."""
    text, cuts = data.draw(_hostile(dialect)), data.draw(CUTS)
    parser = get_parser(dialect)
    parsed = parser.parse_detailed(text)
    assert parsed.calls or parsed.content == text
    assert all(call.name and call.raw_text in text for call in parsed.calls)
    json.dumps([call.arguments for call in parsed.calls], allow_nan=False, ensure_ascii=False).encode()
    for problem in parsed.problems:
        assert 0 <= problem.start <= problem.position <= len(text)
        assert text[: problem.position].endswith(problem.excerpt)
    assert _streamed(parser, _cut(text, cuts)) == parsed
    assert _streamed(parser, text) == parsed


@pytest.mark.parametrize("dialect", MARKERS)
@given(data=st.data())
def test_what_a_model_writes_as_it_should_is_read_back(dialect: str, data: st.DataObject) -> None:
    """Any arguments; with the schema's help where they have no quotes, and whatever is said around them.

    A text that is cut off gives the first of those calls, and no other.
    """
    calls, cuts = data.draw(_calls(dialect)), data.draw(CUTS)
    said = data.draw(st.lists(SAID, min_size=len(calls) + 1, max_size=len(calls) + 1))
    text = said[0] + "".join(
        WRITERS[dialect](name, arguments) + after
        for (name, arguments), after in zip(calls, said[1:], strict=True)
    )
    one_schema_each = len({name for name, _ in calls}) == len(calls)
    parser = get_parser(dialect, tools=_tools(calls) if one_schema_each else ())
    parsed = parser.parse_detailed(text)
    assert [call.name for call in parsed.calls] == [name for name, _ in calls]
    if one_schema_each or dialect not in UNQUOTED:
        assert [call.arguments for call in parsed.calls] == [arguments for _, arguments in calls]
    assert not parsed.problems
    assert re.sub(r"\s", "", parsed.content or "") == re.sub(r"\s", "", "".join(said))
    assert _streamed(parser, _cut(text, cuts)) == parsed
    end = cuts[0] % len(text) if cuts else 0
    found = parser.parse(text[:end])[1]
    assert [call.arguments for call in found] == [call.arguments for call in parsed.calls[: len(found)]]
