"""The types of arguments in dialects that write values without quotes: told by the tool's schema. PURE.

In ``<parameter=count>3</parameter>`` only the schema knows whether ``3`` is a number or a text. Where it
says so (``type``, also a list of types, ``anyOf``, ``oneOf``, ``allOf``, ``enum``, ``const``, and a ``$ref``
into the same schema), the value is read as what may stand there; a text stays as it was written, with its
quotes and spaces. What cannot be read as what it should be stays a text too: whoever checks the arguments
against the schema tells the model.

Without a schema for the argument: a JSON value if it is one (a text in quotes is one, too), or Python's
``True``, ``False`` and ``None``, which templates write for want of a filter; else a text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from hermes_trio.models.parsers.cursor import Malformed
from hermes_trio.models.parsers.json_text import loads
from hermes_trio.models.parsers.python_text import python_value
from hermes_trio.tools.json_types import json_type

_PYTHON_WORDS: Final[Mapping[str, Any]] = MappingProxyType({"True": True, "False": False, "None": None})
_JSON_TYPES: Final = frozenset({"null", "boolean", "integer", "number", "string", "object", "array"})
_MAX_SCHEMAS: Final = 64
"""How many schemas are looked at for the type of one argument; they can point at each other in circles."""


class ArgumentTypes:
    """What the tools say about their arguments.

    Args:
        tools: in OpenAI's function format, or just the ``function`` of it. What is of neither form is left
            out: it is the server's business to refuse it.
    """

    def __init__(self, tools: Iterable[Any] = ()) -> None:
        self._parameters: dict[str, Mapping[str, Any]] = {}
        for tool in tools:
            function = tool.get("function", tool) if isinstance(tool, Mapping) else None
            if isinstance(function, Mapping) and isinstance(function.get("parameters"), Mapping):
                self._parameters[str(function.get("name"))] = function["parameters"]

    def read(self, tool: str, argument: str, text: str) -> Any:
        """The value of an argument that was written without quotes.

        Args:
            tool: its name.
            argument: its name.
            text: as it was written.
        """
        types = self._types(tool, argument)
        return _literal_or_text(text) if types is None else _typed(text, types)

    def _types(self, tool: str, argument: str) -> frozenset[str] | None:
        parameters = self._parameters.get(tool, {})
        properties = parameters.get("properties")
        schema = properties.get(argument) if isinstance(properties, Mapping) else None
        return _types_of(schema, parameters)


def _types_of(schema: Any, root: Mapping[str, Any]) -> frozenset[str] | None:
    """The JSON types that a schema allows; ``None`` when it does not say."""
    types: set[str] = set()
    todo = [schema]
    for _ in range(_MAX_SCHEMAS):
        told, further = _told(todo.pop(), root)
        if not told and not further:
            return None
        types |= told
        todo += further
        if not todo:
            return frozenset(types)
    return None


def _told(schema: Any, root: Mapping[str, Any]) -> tuple[frozenset[str], Sequence[Any]]:
    """What one schema says of types itself, or else the schemas that it leaves it to."""
    if not isinstance(schema, Mapping):
        return frozenset(), ()
    kinds = schema.get("type")
    known = _JSON_TYPES.intersection(map(str, kinds if isinstance(kinds, list) else [kinds]))
    if known:
        return known, ()
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if isinstance(values, list):
        return frozenset(json_type(value) for value in values), ()
    if "$ref" in schema:
        return frozenset(), [_target(str(schema["$ref"]), root)]
    combined = (schema.get(word) for word in ("anyOf", "oneOf", "allOf"))
    return frozenset(), next((each for each in combined if isinstance(each, list)), ())


def _target(ref: str, root: Mapping[str, Any]) -> Any:
    """What a reference into the same schema points at."""
    if not ref.startswith("#/"):
        return None
    found: Any = root
    for part in ref[2:].split("/"):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _typed(text: str, types: frozenset[str]) -> Any:
    if types == {"string"}:
        return text  # without a look at what it could be: it may be a whole file of JSON
    value = _literal_or_text(text)
    if _fits(value, types):
        return value
    if "string" not in types and types & {"object", "array"}:
        return _python_or_text(text, types)
    return text


def _literal_or_text(text: str) -> Any:
    word = text.strip()
    if word in _PYTHON_WORDS:
        return _PYTHON_WORDS[word]
    try:
        return loads(word)
    except Malformed:
        return text


def _python_or_text(text: str, types: frozenset[str]) -> Any:
    try:
        value = python_value(text)
    except Malformed:
        return text
    return value if _fits(value, types) else text


def _fits(value: Any, types: frozenset[str]) -> bool:
    """Whether it may stand there, and is not a text: those stay as they were written."""
    name = json_type(value)
    if name == "string":
        return False
    return name in types or (name == "integer" and "number" in types)
