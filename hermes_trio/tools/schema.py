"""What a tool is called, takes and needs: frozen data with the three ways to write it for a model.

PURE. Nothing here runs a tool; a schema is what the model is told, what arguments are checked against
(:mod:`hermes_trio.tools.arguments`) and what the executor routes by (``external``).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any, Self

from attrs import field, frozen
from jsonschema_rs import Validator

from hermes_trio.errors import InvalidInputError
from hermes_trio.tools.json_schema import compile_schema


def _frozen_names(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(names)


@frozen
class ToolSchema:
    """One tool as the model is told about it.

    Args:
        name: unique within a registry.
        description: for the model; says what the tool does and when to use it.
        parameters: argument name to its JSON schema (the ``properties`` of the arguments object).
        required: the arguments that must be there; each is one of ``parameters``.
        external: executed by a ToolServer instead of a sandbox.
        further: more members of the arguments' schema, such as ``$defs`` or ``additionalProperties``.

    Raises:
        InvalidInputError: the name is empty, or ``required`` names an argument that does not exist.
    """

    name: str
    description: str = ""
    parameters: Mapping[str, Mapping[str, Any]] = field(factory=dict, kw_only=True)
    required: tuple[str, ...] = field(default=(), converter=_frozen_names, kw_only=True)
    external: bool = field(default=False, kw_only=True)
    further: Mapping[str, Any] = field(factory=dict, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if not self.name:
            raise InvalidInputError("a tool needs a name", field="name")
        unknown = [name for name in self.required if name not in self.parameters]
        if unknown:
            raise InvalidInputError(f"tool '{self.name}' has no parameter '{unknown[0]}'", field="required")

    @classmethod
    def from_json_schema(
        cls, name: str, description: str, schema: Mapping[str, Any], *, external: bool = False
    ) -> Self:
        """The tool whose arguments object has this schema, which comes from somebody else.

        Raises:
            InvalidInputError: it is not a schema of an object.
        """
        properties, required = schema.get("properties", {}), schema.get("required", ())
        if schema.get("type", "object") != "object" or not isinstance(properties, Mapping):
            raise InvalidInputError(f"tool '{name}': not the schema of an object", field="parameters")
        if not isinstance(required, list | tuple) or not all(isinstance(each, str) for each in required):
            raise InvalidInputError(f"tool '{name}': not a list of names", field="required")
        own = ("type", "properties", "required")
        return cls(
            name,
            description,
            # A required name without a property is allowed in JSON Schema: any value will do.
            parameters={
                each: _schema_object(properties.get(each, True)) for each in (*properties, *required)
            },
            required=required,
            external=external,
            further={key: value for key, value in schema.items() if key not in own},
        )

    def arguments_schema(self) -> dict[str, Any]:
        """The JSON schema of the whole arguments object."""
        properties = {name: dict(schema) for name, schema in self.parameters.items()}
        own = {"type": "object", "properties": properties, "required": list(self.required)}
        return {**self.further, **own}

    @cached_property
    def validator(self) -> Validator:
        """Checks arguments; see :func:`hermes_trio.tools.arguments.argument_problems`.

        Raises:
            InvalidInputError: the parameters are no JSON Schema. Registries refuse such a tool.
        """
        return compile_schema(self.arguments_schema(), owner=f"tool '{self.name}'")

    def to_openai(self) -> dict[str, Any]:
        """The tool as a member of ``tools`` in a chat completions request."""
        function = {
            "name": self.name,
            "description": self.description,
            "parameters": self.arguments_schema(),
        }
        return {"type": "function", "function": function}

    def to_prompt(self) -> str:
        """The tool in words, for a model that is told of its tools in the prompt only."""
        lines = [f"{self.name}: {self.description}".rstrip()]
        lines += [self._parameter_line(name) for name in self.parameters]
        return "\n".join(lines)

    def _parameter_line(self, name: str) -> str:
        schema = self.parameters[name]
        need = "required" if name in self.required else "optional"
        text = f"  {name} ({_type_name(schema)}, {need}): {schema.get('description', '')}"
        return text.rstrip().removesuffix(":")


def _schema_object(schema: Any) -> Mapping[str, Any]:
    """``true`` and ``false`` are schemas, too: anything, and nothing."""
    if isinstance(schema, bool):
        return {} if schema else {"not": {}}
    if not isinstance(schema, Mapping):
        raise InvalidInputError("a property's schema is not an object", field="parameters")
    return schema


def _type_name(schema: Mapping[str, Any]) -> str:
    kind = schema.get("type", "any")
    return kind if isinstance(kind, str) else " or ".join(kind)


def hermes_tools_block(schemas: Iterable[ToolSchema]) -> str:
    """The tools as the Hermes prompt format writes them: a JSON list between ``<tools>`` tags.

    Source: the function-calling prompt of NousResearch's Hermes models (Hermes-Function-Calling, README).
    """
    listed = json.dumps([schema.to_openai() for schema in schemas], ensure_ascii=False)
    return f"<tools>\n{listed}\n</tools>"


def prompt_description(schemas: Iterable[ToolSchema]) -> str:
    """Every tool in words, one paragraph each."""
    return "\n\n".join(schema.to_prompt() for schema in schemas)
