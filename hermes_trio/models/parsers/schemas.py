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

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

from hermes_trio.models.parsers.cursor import Malformed
from hermes_trio.models.parsers.json_text import loads
from hermes_trio.models.parsers.python_text import python_value

_PYTHON_WORDS: Final[Mapping[str, Any]] = MappingProxyType({"True": True, "False": False, "None": None})
_JSON_TYPES: Final = frozenset({"null", "boolean", "integer", "number", "string", "object", "array"})
_MAX_REFS: Final = 8
"""How many ``$ref`` and combinations lie between an argument and its type; a schema can point at itself."""


class ArgumentTypes:
    """What the tools say about their arguments.

    Args:
        tools: in OpenAI's function format, or just the ``function`` of it. What is of neither form is left
            out: it is the server's business to refuse it.
    """

    def __init__(self, tools: Iterable[Mapping[str, Any]] = ()) -> None:
        self._parameters: dict[str, Mapping[str, Any]] = {}
        for tool in tools:
            function = tool.get("function", tool)
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
        return _types_of(schema, parameters, _MAX_REFS)


def _types_of(schema: Any, root: Mapping[str, Any], refs: int) -> frozenset[str] | None:
    """The JSON types that a schema allows; ``None`` when it does not say."""
    if not isinstance(schema, Mapping) or not refs:
        return None
    kinds = schema.get("type", [])
    known = _JSON_TYPES.intersection([kinds] if isinstance(kinds, str) else map(str, kinds))
    if known:
        return known
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if isinstance(values, list):
        return frozenset(_type_name(value) for value in values)
    if "$ref" in schema:
        return _types_of(_target(str(schema["$ref"]), root), root, refs - 1)
    return _types_of_any(schema, root, refs)


def _types_of_any(schema: Mapping[str, Any], root: Mapping[str, Any], refs: int) -> frozenset[str] | None:
    combined = (schema.get(word) for word in ("anyOf", "oneOf", "allOf"))
    options = next((each for each in combined if isinstance(each, list)), ())
    found = [_types_of(option, root, refs - 1) for option in options]
    known = [types for types in found if types is not None]
    return frozenset().union(*known) if known and len(known) == len(found) else None


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
        return text
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
    name = _type_name(value)
    if name == "string":
        return False
    return name in types or (name == "integer" and "number" in types)


def _type_name(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
        case Mapping():
            return "object"
        case _:
            return "array"
