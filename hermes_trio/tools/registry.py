"""A registry: the tools one executor can run, or one agent loop offers. PURE."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from hermes_trio.errors import InvalidInputError
from hermes_trio.tools.sandbox_tools import SANDBOX_TOOLS
from hermes_trio.tools.schema import ToolSchema
from hermes_trio.tools.todo import TODO
from hermes_trio.tools.toolsets import TOOLSETS, resolve_toolsets


class ToolRegistry:
    """Tools by name, in the order in which they were added.

    Args:
        schemas: the first members; more come by :meth:`add`.

    Raises:
        InvalidInputError: a name occurs twice.
    """

    def __init__(self, schemas: Iterable[ToolSchema] = ()) -> None:
        self._schemas: dict[str, ToolSchema] = {}
        for schema in schemas:
            self.add(schema)

    def add(self, schema: ToolSchema) -> None:
        """Add one tool.

        Raises:
            InvalidInputError: the name is taken; the registry is unchanged.
        """
        if schema.name in self._schemas:
            raise InvalidInputError(f"tool '{schema.name}' is already registered")
        self._schemas[schema.name] = schema

    def get(self, name: str) -> ToolSchema | None:
        """The tool of this name, or ``None``."""
        return self._schemas.get(name)

    def names(self) -> tuple[str, ...]:
        """All names, in the order of registration."""
        return tuple(self._schemas)

    def schemas(self) -> tuple[ToolSchema, ...]:
        """All tools, in the order of registration."""
        return tuple(self._schemas.values())

    def openai_tools(self) -> list[dict[str, Any]]:
        """The ``tools`` member of a chat completions request."""
        return [schema.to_openai() for schema in self._schemas.values()]

    def __contains__(self, name: object) -> bool:
        return name in self._schemas

    def __iter__(self) -> Iterator[ToolSchema]:
        return iter(self._schemas.values())

    def __len__(self) -> int:
        return len(self._schemas)

    def __repr__(self) -> str:
        return f"<ToolRegistry {len(self)} tools: {', '.join(self._schemas)}>"


BUILTIN_TOOLS: tuple[ToolSchema, ...] = (*SANDBOX_TOOLS, TODO)
"""Every tool that the toolsets may name."""


def registry_of(*toolsets: str) -> ToolRegistry:
    """A registry with the tools of these toolsets, each once.

    Raises:
        InvalidInputError: a toolset is unknown.
    """
    wanted = resolve_toolsets(toolsets, TOOLSETS)
    known = {schema.name: schema for schema in BUILTIN_TOOLS}
    return ToolRegistry(known[name] for name in wanted)


def default_registry() -> ToolRegistry:
    """A fresh registry of toolset ``default``: what an executor and an agent loop have when not told."""
    return registry_of("default")
