"""Parsers of tool calls in raw text, one file per dialect. PURE.

A parser never raises on what a model wrote and never invents a call: text that is no call stays text, and
what was wrong with it is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from hermes_trio.errors import InvalidInputError
from hermes_trio.models.parsers.base import Dialect, Event, ParsedCall, ParsedText, Problem, TextDelta
from hermes_trio.models.parsers.deepseek_v3 import DEEPSEEK_V3
from hermes_trio.models.parsers.deepseek_v3_1 import DEEPSEEK_V3_1
from hermes_trio.models.parsers.glm45 import GLM45
from hermes_trio.models.parsers.glm47 import GLM47
from hermes_trio.models.parsers.hermes import HERMES
from hermes_trio.models.parsers.kimi_k2 import KIMI_K2
from hermes_trio.models.parsers.llama3_json import LLAMA3_JSON
from hermes_trio.models.parsers.llama_pythonic import LLAMA_PYTHONIC
from hermes_trio.models.parsers.longcat import LONGCAT
from hermes_trio.models.parsers.mistral import MISTRAL
from hermes_trio.models.parsers.parser import ToolCallParser
from hermes_trio.models.parsers.qwen import QWEN
from hermes_trio.models.parsers.qwen3_coder import QWEN3_CODER
from hermes_trio.models.parsers.schemas import ArgumentTypes
from hermes_trio.models.parsers.session import MAX_TEXT_CHARS, ParseSession

__all__ = [
    "MAX_TEXT_CHARS",
    "Event",
    "ParseSession",
    "ParsedCall",
    "ParsedText",
    "Problem",
    "TextDelta",
    "ToolCallParser",
    "available_parsers",
    "get_parser",
]

_DIALECTS: Mapping[str, Dialect] = MappingProxyType(
    {
        "deepseek_v3": DEEPSEEK_V3,
        "deepseek_v3_1": DEEPSEEK_V3_1,
        "glm45": GLM45,
        "glm47": GLM47,
        "hermes": HERMES,
        "kimi_k2": KIMI_K2,
        "llama3_json": LLAMA3_JSON,
        "llama_pythonic": LLAMA_PYTHONIC,
        "longcat": LONGCAT,
        "mistral": MISTRAL,
        "qwen": QWEN,
        "qwen3_coder": QWEN3_CODER,
    }
)


def available_parsers() -> tuple[str, ...]:
    """The names that :func:`get_parser` knows."""
    return tuple(sorted(_DIALECTS))


def get_parser(
    name: str, *, tools: Iterable[Mapping[str, Any]] = (), max_chars: int = MAX_TEXT_CHARS
) -> ToolCallParser:
    """A parser by name.

    Args:
        name: of a dialect.
        tools: in OpenAI's function format; they tell the types of arguments in dialects that write them
            without quotes (``qwen3_coder``, ``glm45``, ``glm47``). Without them a value is read as JSON if it
            is JSON, else as text.
        max_chars: calls are looked for in so much of a text. What is behind it is content, and a
            :class:`Problem` says so.

    Raises:
        InvalidInputError: there is none of this name.
    """
    if name not in _DIALECTS:
        raise InvalidInputError(f"unknown parser '{name}'; there are: {', '.join(available_parsers())}")
    return ToolCallParser(name=name, dialect=_DIALECTS[name], types=ArgumentTypes(tools), max_chars=max_chars)
