"""A registry: the tools one executor can run, or one agent loop offers. PURE."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from hermes_trio.errors import InvalidInputError
from hermes_trio.tools.sandbox_tools import SANDBOX_TOOLS
from hermes_trio.tools.schema import ToolSchema
from hermes_trio.tools.todo import TODO
from hermes_trio.tools.tool import Tool
from hermes_trio.tools.toolsets import TOOLSETS, Toolset, resolve_names


class ToolRegistry:
    """Tools by name, in the order in which they were added.

    Args:
        tools: the first members, a bare schema for a tool that a slot or a ToolServer runs; more come by
            :meth:`add`.

    Raises:
        InvalidInputError: a name occurs twice.
    """

    def __init__(self, tools: Iterable[Tool | ToolSchema] = ()) -> None:
        self._tools: dict[str, Tool] = {}
        for tool in tools:
            self.add(tool)

    def add(self, tool: Tool | ToolSchema) -> None:
        """Add one tool.

        Raises:
            InvalidInputError: the name is taken, or the parameters are no JSON Schema; the registry is
                unchanged.
        """
        tool = tool if isinstance(tool, Tool) else Tool(tool)
        if tool.name in self._tools:
            raise InvalidInputError(f"tool '{tool.name}' is already registered")
        _ = tool.schema.validator  # compiled now, so that who registers it hears what is wrong with it
        self._tools[tool.name] = tool

    def tool(self, name: str) -> Tool | None:
        """The tool of this name and how it is run, or ``None``."""
        return self._tools.get(name)

    def get(self, name: str) -> ToolSchema | None:
        """The schema of the tool of this name, or ``None``."""
        tool = self._tools.get(name)
        return None if tool is None else tool.schema

    def names(self) -> tuple[str, ...]:
        """All names, in the order of registration."""
        return tuple(self._tools)

    def schemas(self) -> tuple[ToolSchema, ...]:
        """All schemas, in the order of registration."""
        return tuple(tool.schema for tool in self._tools.values())

    def openai_tools(self) -> list[dict[str, Any]]:
        """The ``tools`` member of a chat completions request."""
        return [tool.schema.to_openai() for tool in self]

    def __contains__(self, name: object) -> bool:
        return name in self._tools

    def __iter__(self) -> Iterator[Tool]:
        return iter(self._tools.values())

    def __len__(self) -> int:
        return len(self._tools)

    def __repr__(self) -> str:
        return f"<ToolRegistry {len(self)} tools: {', '.join(self._tools)}>"


BUILTIN_TOOLS: tuple[ToolSchema, ...] = (*SANDBOX_TOOLS, TODO)
"""Every tool that the toolsets may name."""


def registry_of(
    *names: str,
    disabled: Iterable[str] = (),
    tools: Iterable[Tool | ToolSchema] = (),
    toolsets: Mapping[str, Toolset] = TOOLSETS,
) -> ToolRegistry:
    """A registry of what is named, each tool once.

    Args:
        names: toolsets, or single tools.
        disabled: toolsets or tools that are left out, also of ``tools``.
        tools: tools of your own. They are in without being named.
        toolsets: what the names of toolsets mean.

    Raises:
        InvalidInputError: a name means nothing, a toolset includes itself, or two tools have one name.
    """
    own = [tool if isinstance(tool, Tool) else Tool(tool) for tool in tools]
    known = {tool.name: tool for tool in (*map(Tool, BUILTIN_TOOLS), *own)}
    left_out = set(resolve_names(disabled, toolsets, known))
    wanted = [*resolve_names(names, toolsets, known), *(tool.name for tool in own)]
    return ToolRegistry(known[name] for name in dict.fromkeys(wanted) if name not in left_out)


def default_registry() -> ToolRegistry:
    """A fresh registry of toolset ``default``: what an executor and an agent loop have when not told."""
    return registry_of("default")
