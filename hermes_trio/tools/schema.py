"""What a tool is called, takes and needs: frozen data with the three ways to write it for a model.

PURE. Nothing here runs a tool; a schema is what the model is told, what arguments are checked against
(:mod:`hermes_trio.tools.arguments`) and what the executor routes by (``external``).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from attrs import field, frozen

from hermes_trio.errors import InvalidInputError


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

    Raises:
        InvalidInputError: the name is empty, or ``required`` names an argument that does not exist.
    """

    name: str
    description: str = ""
    parameters: Mapping[str, Mapping[str, Any]] = field(factory=dict, kw_only=True)
    required: tuple[str, ...] = field(default=(), converter=_frozen_names, kw_only=True)
    external: bool = field(default=False, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if not self.name:
            raise InvalidInputError("a tool needs a name", field="name")
        unknown = [name for name in self.required if name not in self.parameters]
        if unknown:
            raise InvalidInputError(f"tool '{self.name}' has no parameter '{unknown[0]}'", field="required")

    def arguments_schema(self) -> dict[str, Any]:
        """The JSON schema of the whole arguments object."""
        properties = {name: dict(schema) for name, schema in self.parameters.items()}
        return {"type": "object", "properties": properties, "required": list(self.required)}

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
