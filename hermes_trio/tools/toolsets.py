"""Named sets of tools that may include each other, resolved to tool names. PURE."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from types import MappingProxyType

from attrs import frozen

from hermes_trio.errors import InvalidInputError


@frozen(kw_only=True)
class Toolset:
    """Tools of its own, after those of the toolsets it includes."""

    tools: tuple[str, ...] = ()
    includes: tuple[str, ...] = ()


TOOLSETS: Mapping[str, Toolset] = MappingProxyType(
    {
        # Both names of the one-shot shell: clients of the ancestor use either, and one that is not offered
        # would cost a turn to find out.
        "terminal": Toolset(tools=("terminal", "bash")),
        "filesystem": Toolset(tools=("read_file", "write_file")),
        "terminal_stateful": Toolset(tools=("terminal_stateful", "tmux")),
        "sandbox": Toolset(includes=("terminal", "filesystem")),
        # The three sets above are the ancestor's; these tools are ours, after them.
        "default": Toolset(tools=("edit_file", "list_files", "search_files"), includes=("sandbox",)),
        "full": Toolset(tools=("bash_stateful", "todo"), includes=("default", "terminal_stateful")),
    }
)
"""The toolsets that come with the product."""


def resolve_names(
    names: Iterable[str], toolsets: Mapping[str, Toolset], tools: Container[str]
) -> tuple[str, ...]:
    """The tools that toolsets and tools of these names come to, each once, as they are first met.

    Args:
        names: a toolset wins over a tool of its name.
        toolsets: by name.
        tools: the names of all tools there are.

    Raises:
        InvalidInputError: a name is neither, or a toolset includes itself, directly or by way of others;
            the text shows the way round.
    """
    found = dict.fromkeys(tool for name in names for tool in _walk(name, toolsets, tools, ()))
    unknown = [name for name in found if name not in tools]
    if unknown:
        raise InvalidInputError(f"unknown tool '{unknown[0]}' in a toolset")
    return tuple(found)


def _walk(
    name: str, toolsets: Mapping[str, Toolset], tools: Container[str], path: tuple[str, ...]
) -> Iterator[str]:
    toolset = toolsets.get(name)
    if toolset is None and name in tools:
        yield name
        return
    if toolset is None:
        raise InvalidInputError(f"unknown toolset or tool '{name}'; toolsets: {', '.join(sorted(toolsets))}")
    if name in path:
        raise InvalidInputError(f"toolset '{name}' includes itself: {' > '.join([*path, name])}")
    for included in toolset.includes:
        yield from _walk(included, toolsets, tools, (*path, name))
    yield from toolset.tools
