"""What reading costs grows with the text, not with its square, however hostile it is and however it is cut.

Counted, not timed: the functions that are called, and the characters that are copied beyond the one time that
reading takes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any

import pytest

from hermes_trio.models.parsers import Problem, TextDelta, get_parser
from hermes_trio.models.parsers.cursor import Cursor
from hermes_trio.models.parsers.parser import STEP_CHARS

SIZE = 1_200
REPEATED = {
    "deepseek_v3": ["<｜tool▁calls▁begin｜>", '<｜tool▁call▁begin｜>function<｜tool▁sep｜>a\n```json\n{"x":'],
    "deepseek_v3_1": ["<｜tool▁call▁begin｜>", "<｜tool▁call▁begin｜>a<｜tool▁sep｜>{", "<｜tool▁"],
    "glm45": ["<tool_call>a", "<tool_call>a<arg_key>", "</arg_value> ", "<tool_call>b<arg_key>x</tool_call>"],
    "glm47": ["<tool_call>a", "<tool_call>a<arg_key>b</arg_key><arg_value>", r"\n", "\\"],
    "hermes": [
        "<tool_call>",
        "<tool_call>{",
        '<tool_call>{"',
        '<tool_call>{"x":"',
        '<tool_call>{"x":[',
        "<tool",
    ],
    "kimi_k2": ["<|tool_call_begin|>", "<|tool_call_begin|>a:0<|tool_call_argument_begin|>{", "<|tool_"],
    "llama3_json": ['{"name":', "[", "{", '{"name":"a","parameters":{}};', "<|python_tag|>"],
    "llama_pythonic": ["[a(", "[a(x=", "[a(x='", "[a(),", "<|python_start|>[a(x=(", "'''"],
    "longcat": ["<longcat_tool_call>{", '<longcat_tool_call>{"', "<longcat_think>"],
    "mistral": ["[TOOL_CALLS]", "[TOOL_CALLS][", '[TOOL_CALLS][{"name":"a"},', "[TOOL_CALLS]a{", "[THINK]"],
    "qwen": ["<tool_call>{", "<tool_call>{}", "</tool_call>"],
    "qwen3_coder": [
        "<function=",
        "<function=a>",
        "\n<tool_call>\n<function=a>",
        "</parameter>\n",
        "\n<parameter=",
        "\n</function>\n",
        "</function></tool_call>",
    ],
}
OPENED = {
    "deepseek_v3": "<｜tool▁call▁begin｜>function<｜tool▁sep｜>a\n```json\n",
    "deepseek_v3_1": "<｜tool▁call▁begin｜>a<｜tool▁sep｜>",
    "glm45": "<tool_call>a<arg_key>b</arg_key><arg_value>",
    "glm47": "<tool_call>a<arg_key>b</arg_key><arg_value>",
    "hermes": "<tool_call>",
    "kimi_k2": "<|tool_call_begin|>a:0<|tool_call_argument_begin|>",
    "llama3_json": "<|python_tag|>",
    "llama_pythonic": "[a(x=",
    "longcat": "<longcat_tool_call>",
    "mistral": "[TOOL_CALLS]a",
    "qwen": "<tool_call>",
    "qwen3_coder": "<tool_call><function=a><parameter=b>",
}
OF_ALL = [" ", "<", "[", "{", '{"a":', '{"x":"\\n', '{"x":[0,', '"', "<think>", "```", "a "]
CASES = [
    *((dialect, "", piece) for dialect, pieces in REPEATED.items() for piece in pieces),
    *(
        (dialect, OPENED[dialect], piece)
        for dialect, pieces in REPEATED.items()
        for piece in [*pieces, *OF_ALL]
    ),
    *(("hermes", "", piece) for piece in OF_ALL),
]


def _text(opened: str, piece: str, size: int) -> str:
    return opened + piece * (size // len(piece))


def _read(dialect: str, pieces: Iterable[str]) -> None:
    session = get_parser(dialect).session()
    for piece in pieces:
        session.feed(piece)
    session.finish()


def _counted(work: Callable[[], object]) -> int:
    """How many functions are called, of ours and of the interpreter."""
    count = 0

    def counting(_frame: FrameType, event: str, _argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(counting)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def _steps(dialect: str, pieces: Iterable[str]) -> int:
    return _counted(lambda: _read(dialect, pieces))


def _in_pieces(text: str, size: int) -> list[str]:
    return [text[start : start + size] for start in range(0, len(text), size)]


@pytest.mark.parametrize(("dialect", "opened", "piece"), CASES)
def test_steps_grow_with_the_text(dialect: str, opened: str, piece: str) -> None:
    """Twice the text takes at most about twice the steps, whole and in pieces of five characters."""
    once, twice = _text(opened, piece, SIZE), _text(opened, piece, 2 * SIZE)
    _read(dialect, _in_pieces(once, 5))  # compiles the patterns
    assert _steps(dialect, [twice]) <= 2.2 * _steps(dialect, [once]) + 200
    assert _steps(dialect, _in_pieces(twice, 5)) <= 2.2 * _steps(dialect, _in_pieces(once, 5)) + 200


@pytest.mark.parametrize(("dialect", "opened", "piece"), CASES)
def test_what_is_not_read_yet_stays_shorter_than_a_marker(
    dialect: str, opened: str, piece: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So joining what arrives to it costs little, and bringing back what was kept costs it once."""
    carried, gathered = [0], [0]
    push, gather = Cursor.push, Cursor._gather

    def counting_push(cursor: Cursor, text: str) -> None:
        carried.append(len(cursor._window) - cursor._at)
        push(cursor, text)

    def counting_gather(cursor: Cursor) -> None:
        gathered.append(sum(map(len, cursor._kept)))
        gather(cursor)

    monkeypatch.setattr(Cursor, "push", counting_push)
    monkeypatch.setattr(Cursor, "_gather", counting_gather)
    text = _text(opened, piece, SIZE)
    _read(dialect, _in_pieces(text, 3))
    assert max(carried) <= 40
    assert sum(gathered) <= len(text)


def test_a_text_that_the_schema_calls_a_text_is_not_read_as_anything_else() -> None:
    """A file of JSON in an argument costs what a file of prose costs."""
    tools = [{"name": "a", "parameters": {"properties": {"b": {"type": "string"}}}}]

    def steps(value: str) -> int:
        text = f"<tool_call><function=a><parameter=b>{value}</parameter></function></tool_call>"
        return _counted(lambda: get_parser("qwen3_coder", tools=tools).parse(text))

    steps("x")
    assert steps(f"[{'0,' * 5_000}0]") == steps("x" * 10_000)


LARGEST = 600


@pytest.mark.parametrize(("dialect", "opened", "piece"), CASES)
def test_steps_do_not_grow_behind_the_maximum(dialect: str, opened: str, piece: str) -> None:
    """What is longer is content: eight times the text takes as many steps, and everything is still there."""
    parser = get_parser(dialect, max_chars=LARGEST)
    once, more = _text(opened, piece, 2 * LARGEST), _text(opened, piece, 16 * LARGEST)
    parser.parse(once)
    assert _counted(lambda: parser.parse(more)) <= _counted(lambda: parser.parse(once)) + 20
    parsed = parser.parse_detailed(more)
    assert str(LARGEST) in parsed.problems[-1].reason
    assert (parsed.content or "").endswith(more[LARGEST:])


@pytest.mark.parametrize("dialect", sorted(REPEATED))
def test_a_maximum_is_the_same_however_the_text_is_cut(dialect: str) -> None:
    """Whole, and in pieces of which one lies across it; at the maximum itself nothing is wrong."""
    parser = get_parser(dialect, max_chars=20)
    for length in (19, 20, 21, 40):
        text = (OPENED[dialect] + "x" * 40)[:length]
        whole = parser.parse_detailed(text)
        session = parser.session()
        events = [
            *(event for piece in _in_pieces(text, 7) for event in session.feed(piece)),
            *session.finish(),
        ]
        assert (
            "".join(event.text for event in events if isinstance(event, TextDelta)) == whole.content == text
        )
        problems = tuple(event for event in events if isinstance(event, Problem))
        assert problems == whole.problems
        assert any("20 characters" in problem.reason for problem in problems) == (length > 20)


def test_a_long_answer_is_read_in_steps() -> None:
    """Each of a bounded size, so that a loop can let others have their turn."""
    text = "<tool_call>" * (3 * STEP_CHARS // len("<tool_call>"))
    parser = get_parser("hermes")
    assert sum(1 for _ in parser.parsing(text)) == len(text) // STEP_CHARS
    assert list(parser.parsing("short")) == []
