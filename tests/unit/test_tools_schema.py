"""Tool schemas, registries and toolsets."""

from __future__ import annotations

import json

import pytest

from hermes_trio.errors import InvalidInputError
from hermes_trio.tools.registry import BUILTIN_TOOLS, ToolRegistry, default_registry, registry_of
from hermes_trio.tools.sandbox_tools import BASH, TERMINAL
from hermes_trio.tools.schema import ToolSchema, hermes_tools_block, prompt_description
from hermes_trio.tools.toolsets import TOOLSETS, Toolset, resolve_names

KNOWN = {schema.name for schema in BUILTIN_TOOLS}

GREET = ToolSchema(
    "greet",
    "Say hello.",
    parameters={
        "name": {"type": "string", "description": "Whom."},
        "loud": {"type": ["boolean", "null"]},
        "x": {},
    },
    required=["name"],
)

SANDBOX = ("terminal", "bash", "read_file", "write_file")
OURS = ("edit_file", "list_files", "search_files")


def test_schema_is_written_as_an_openai_function() -> None:
    """The OpenAI form nests name, description and one arguments object."""
    assert GREET.to_openai() == {
        "type": "function",
        "function": {
            "name": "greet",
            "description": "Say hello.",
            "parameters": {
                "type": "object",
                "properties": {
                    "name": {"type": "string", "description": "Whom."},
                    "loud": {"type": ["boolean", "null"]},
                    "x": {},
                },
                "required": ["name"],
            },
        },
    }


def test_schema_is_written_in_words() -> None:
    """One line for the tool, one for each argument, with type and need."""
    assert GREET.to_prompt().splitlines() == [
        "greet: Say hello.",
        "  name (string, required): Whom.",
        "  loud (boolean or null, optional)",
        "  x (any, optional)",
    ]


def test_prompt_description_separates_tools() -> None:
    """Each tool is a paragraph."""
    assert prompt_description([GREET, ToolSchema("b", "B.")]).split("\n\n")[1] == "b: B."


def test_hermes_block_is_a_json_list_between_tags() -> None:
    """What stands between the tags is JSON with every tool."""
    block = hermes_tools_block([GREET, BASH])
    inner = block.removeprefix("<tools>\n").removesuffix("\n</tools>")
    assert [tool["function"]["name"] for tool in json.loads(inner)] == ["greet", "bash"]


def test_schema_without_a_name_is_refused() -> None:
    """A tool nobody can call is a mistake."""
    with pytest.raises(InvalidInputError, match="name"):
        ToolSchema("")


def test_schema_that_requires_an_unknown_parameter_is_refused() -> None:
    """A required argument that cannot be described could never be given."""
    with pytest.raises(InvalidInputError, match="no parameter 'b'"):
        ToolSchema("a", required=["b"])


def test_registry_keeps_the_order_and_finds_by_name() -> None:
    """Names, schemas and OpenAI tools come in the order of registration."""
    registry = ToolRegistry([BASH])
    registry.add(GREET)
    assert registry.names() == ("bash", "greet")
    assert registry.schemas() == (BASH, GREET)
    assert [tool["function"]["name"] for tool in registry.openai_tools()] == ["bash", "greet"]
    assert registry.get("greet") is GREET
    assert registry.get("nope") is None
    assert "bash" in registry
    assert "nope" not in registry
    assert len(registry) == 2
    assert repr(registry) == "<ToolRegistry 2 tools: bash, greet>"


def test_registry_refuses_a_duplicate_and_stays_as_it_was() -> None:
    """Two tools of one name cannot be told apart by a model."""
    registry = ToolRegistry([BASH])
    with pytest.raises(InvalidInputError, match="already registered"):
        registry.add(ToolSchema("bash", "another"))
    assert registry.schemas() == (BASH,)


def test_default_registry_is_fresh_each_time() -> None:
    """Adding to one default registry leaves the next alone."""
    default_registry().add(GREET)
    assert default_registry().names() == (*SANDBOX, *OURS)


@pytest.mark.parametrize(
    ("name", "tools"),
    [
        ("filesystem", {"read_file", "write_file"}),
        ("terminal_stateful", {"terminal_stateful", "tmux"}),
        ("sandbox", {"terminal", "bash", "read_file", "write_file"}),
        ("default", {*SANDBOX, *OURS}),
        ("full", {schema.name for schema in BUILTIN_TOOLS}),
    ],
)
def test_toolsets_hold_the_ancestors_tools(name: str, tools: set[str]) -> None:
    """Each toolset of the contract resolves to its tools."""
    assert set(registry_of(name).names()) == tools


def test_overlapping_toolsets_give_each_tool_once() -> None:
    """The first mention decides the place."""
    assert resolve_names(["filesystem", "sandbox"], TOOLSETS, KNOWN) == (
        "read_file",
        "write_file",
        "terminal",
        "bash",
    )


def test_a_diamond_of_includes_is_no_cycle() -> None:
    """Two toolsets may include the same third."""
    diamond = {
        "top": Toolset(includes=("a", "b")),
        "a": Toolset(includes=("c",)),
        "b": Toolset(includes=("c",)),
        "c": Toolset(tools=("t",)),
    }
    assert resolve_names(["top"], diamond, ["t"]) == ("t",)


def test_a_cycle_of_includes_is_refused_with_the_way_round() -> None:
    """The text shows who includes whom."""
    ring = {"a": Toolset(includes=("b",)), "b": Toolset(includes=("a",))}
    with pytest.raises(InvalidInputError, match="a > b > a"):
        resolve_names(["a"], ring, [])


def test_an_unknown_toolset_is_refused_with_the_known_ones() -> None:
    """The text helps to find the right name."""
    with pytest.raises(InvalidInputError, match=r"unknown toolset or tool 'x'.*default"):
        registry_of("x")
    with pytest.raises(InvalidInputError, match="unknown tool 'nope' in a toolset"):
        registry_of("mine", toolsets={"mine": Toolset(tools=("nope",))})


def test_toolsets_and_tools_are_enabled_and_disabled_by_name() -> None:
    """Tools of one's own are in without being named, and can be named to be left out."""
    assert registry_of("full", disabled=["terminal_stateful", "todo"]).names() == (
        *SANDBOX,
        *OURS,
        "bash_stateful",
    )
    assert registry_of("filesystem", "bash", tools=[GREET]).names() == (
        "read_file",
        "write_file",
        "bash",
        "greet",
    )
    assert registry_of("bash", tools=[GREET], disabled=["greet"]).names() == ("bash",)
    with pytest.raises(InvalidInputError, match="unknown toolset or tool 'nope'"):
        registry_of("default", disabled=["nope"])


def test_a_toolset_of_ones_own_may_hold_tools_of_ones_own() -> None:
    """It may include the product's."""
    toolsets = {**TOOLSETS, "mine": Toolset(tools=("greet",), includes=("filesystem",))}
    assert registry_of("mine", tools=[GREET], toolsets=toolsets).names() == (
        "read_file",
        "write_file",
        "greet",
    )


def test_terminal_takes_the_ancestors_arguments() -> None:
    """Clients send timeout and background with terminal."""
    assert set(TERMINAL.parameters) == {"command", "timeout", "background"}
    assert TERMINAL.required == ("command",)
