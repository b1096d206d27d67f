"""Tools under other names, fewer of them, or with limits."""

from __future__ import annotations

import pytest

from hermes_trio.errors import InvalidInputError
from hermes_trio.tools.registry import registry_of
from hermes_trio.tools.sandbox_tools import BASH, READ_FILE
from hermes_trio.tools.tool import Tool
from hermes_trio.tools.wrappers import filtered, limited, prefixed, renamed


def test_a_prefix_changes_what_the_model_says_and_not_what_is_run() -> None:
    """Twice is as good as once."""
    (tool,) = prefixed(prefixed([BASH], "a_"), "b_")
    assert (tool.name, tool.runs_as) == ("b_a_bash", "bash")
    assert tool.schema.parameters == BASH.parameters


def test_some_tools_are_renamed() -> None:
    """The others stay as they are; a name that is not there is a slip."""
    tools = renamed(registry_of("filesystem"), {"read_file": "cat"})
    assert [(tool.name, tool.runs_as) for tool in tools] == [
        ("cat", "read_file"),
        ("write_file", "write_file"),
    ]
    with pytest.raises(InvalidInputError, match="no tool 'bash' to rename"):
        renamed([READ_FILE], {"bash": "sh"})


def test_a_function_chooses() -> None:
    """By whatever a tool has."""
    tools = filtered(registry_of("default"), lambda tool: "path" in tool.schema.parameters)
    assert [tool.name for tool in tools] == [
        "read_file",
        "write_file",
        "edit_file",
        "list_files",
        "search_files",
    ]


def test_limits_only_ever_become_tighter() -> None:
    """Whatever the order."""
    (tool,) = limited(limited([BASH], limit_s=5.0), limit_s=9.0, max_output_chars=10)
    assert (tool.limit_s, tool.max_output_chars) == (5.0, 10)
    assert limited([Tool(BASH, max_output_chars=10)], max_output_chars=5)[0].max_output_chars == 5


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        ({"max_concurrent": 0}, "field 'max_concurrent': must be positive"),
        ({"max_concurrent": 1}, "field 'max_concurrent': tool 'bash' has no handler"),
        ({"limit_s": 0}, "field 'limit_s'"),
    ],
)
def test_limits_that_cannot_be_kept_are_refused(limits: dict[str, float], says: str) -> None:
    """A slot has its own order."""
    with pytest.raises(InvalidInputError, match=says):
        limited([BASH], **limits)
