"""The options of ``hermes-trio run`` about the agent: its tools, its dialect, its limits, its sampling."""

from __future__ import annotations

import argparse
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import asdict, field, frozen

from hermes_trio.errors import InvalidInputError
from hermes_trio.models.request import public_url

PARSER_NAMES = (
    *("deepseek_v3", "deepseek_v3_1", "glm45", "glm47", "hermes", "kimi_k2", "llama3_json"),
    *("llama_pythonic", "longcat", "mistral", "qwen", "qwen3_coder"),
)
"""Written down twice, see :func:`hermes_trio.models.parsers.available_parsers`: ``--help`` is quick."""

NOTHING = "none"
DEFAULT_TEMPERATURE = 1.0
MAX_TEMPERATURE = 100.0
"""Servers draw narrower lines, OpenAI's at 2; this one catches slips of the finger."""
MAX_SECONDS = 1e7

_RESERVED = frozenset({"messages", "tools", "stream", "n"})
"""Members of a request that are the loop's own."""


@frozen(kw_only=True)
class AgentSettings:
    """What the agent of a run may do, and how its model samples. ``None``: as the tasks or the server say.

    Args:
        parser: dialect of calls in raw text; ``None``: text is never a call.
        tools: toolsets and tools that are offered.
        without: toolsets and tools that are left out all the same.
        mcp: a file with MCP servers, whose tools are offered too.
        tool_server: URL of a ToolServer, whose tools are offered too.
        tool_server_token: what it accepts; ``None``: it wants none.
        max_turns: model calls per trajectory at most.
        max_generated_tokens: tokens that the model may generate per trajectory.
        max_tool_calls: calls that may be run per trajectory.
        parallel_calls: calls of one turn that run at once.
        observation_chars: what the model is shown of one output.
        trajectory_s: seconds for all turns of a trajectory.
        turn_s: seconds for one turn.
        call_s: seconds for one call.
        temperature: of sampling.
        max_tokens: most tokens of one turn.
        top_p: of sampling.
        stop: texts at which a turn ends.
        extra_body: further members of each request to the model.
        token_ids: ask the server for token ids and logprobs, and keep training rows.
    """

    parser: str | None = "hermes"
    tools: tuple[str, ...] = ("default",)
    without: tuple[str, ...] = ()
    mcp: Path | None = None
    tool_server: str | None = None
    tool_server_token: str | None = field(default=None, repr=False)
    max_turns: int | None = None
    max_generated_tokens: int | None = None
    max_tool_calls: int | None = None
    parallel_calls: int | None = None
    observation_chars: int | None = None
    trajectory_s: float | None = None
    turn_s: float | None = None
    call_s: float | None = None
    temperature: float = DEFAULT_TEMPERATURE
    max_tokens: int | None = None
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    extra_body: Mapping[str, Any] = field(factory=dict, repr=False)
    token_ids: bool = False

    def to_mapping(self) -> dict[str, Any]:
        """For ``summary.json``: how to run it again, and no secret."""
        kept = asdict(self, filter=lambda attribute, _: attribute.name not in {"tool_server_token", "mcp"})
        server = None if self.tool_server is None else public_url(self.tool_server)
        # What users put into a body may be a key of theirs; its members' names do no harm.
        return kept | {
            "tool_server": server,
            "mcp": None if self.mcp is None else str(self.mcp),
            "extra_body": sorted(self.extra_body),
        }


# --- the words --------------------------------------------------------------------------------------------


def add_agent_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that :func:`read_agent_settings` reads."""
    _add_tool_options(parser.add_argument_group("what the model may call"))
    _add_limit_options(parser.add_argument_group("how far it may go (no limit, or as the tasks say)"))
    _add_sampling_options(parser.add_argument_group("how it samples (as the server likes)"))


def _add_tool_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--tools",
        metavar="NAMES",
        help="toolsets and tools, with commas between them: 'default' (the default: terminal, bash, "
        "read_file, write_file), 'full', 'terminal', 'filesystem', bash, todo, ...; 'none': nothing of ours",
    )
    group.add_argument("--without", metavar="NAMES", help="toolsets and tools that are left out all the same")
    group.add_argument(
        "--mcp",
        type=Path,
        metavar="FILE",
        help='MCP servers, {"mcpServers": {NAME: {"command": ..., "args": [...]}}} as other clients read it; '
        "a tool of theirs is offered as NAME_tool",
    )
    group.add_argument(
        "--tool-server", metavar="URL", help="a ToolServer, http://host:port; its tools are offered too"
    )
    group.add_argument(
        "--tool-server-token-env", metavar="VAR", help="environment variable that holds its token"
    )
    group.add_argument(
        "--parser",
        metavar="NAME",
        choices=(*PARSER_NAMES, NOTHING),
        default="hermes",
        help="how calls are written in raw text, for servers that do not parse them themselves: "
        f"{', '.join(PARSER_NAMES)}; 'none': text is never a call (hermes)",
    )


def _add_limit_options(group: argparse._ArgumentGroup) -> None:
    count, seconds = whole_number, _seconds
    group.add_argument("--max-turns", type=count, metavar="N", help="model calls per trajectory at most")
    group.add_argument(
        "--max-generated-tokens", type=count, metavar="N", help="tokens generated per trajectory"
    )
    group.add_argument("--max-tool-calls", type=count, metavar="N", help="tool calls per trajectory")
    group.add_argument("--trajectory-s", type=seconds, metavar="S", help="seconds for all turns together")
    group.add_argument("--turn-s", type=seconds, metavar="S", help="seconds for one turn")
    group.add_argument("--call-s", type=seconds, metavar="S", help="seconds for one tool call")
    group.add_argument("--parallel-calls", type=count, metavar="N", help="calls of one turn at once (8)")
    group.add_argument(
        "--observation-chars",
        type=count,
        metavar="N",
        help="what the model is shown of one output; its middle is left out above (50000)",
    )


def _add_sampling_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--temperature",
        type=_temperature,
        default=DEFAULT_TEMPERATURE,
        metavar="T",
        help=f"({DEFAULT_TEMPERATURE:g})",
    )
    group.add_argument("--top-p", type=_share, metavar="P", help="above 0, up to 1")
    group.add_argument("--max-tokens", type=whole_number, metavar="N", help="most tokens of one turn")
    group.add_argument("--stop", action="append", metavar="TEXT", help="a text that ends a turn; repeat it")
    group.add_argument(
        "--extra-body",
        type=_members,
        metavar="JSON",
        help="further members of each request, '{\"top_k\": 20}'; they win over all other options",
    )
    group.add_argument(
        "--token-ids",
        action="store_true",
        help="ask for token ids and logprobs (vLLM, SGLang), and keep training rows in trajectories.jsonl",
    )


def whole_number(text: str) -> int:
    """A count, for argparse."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if not 1 <= number <= 1_000_000:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 to 1000000, not {text!r}")
    return number


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _seconds(text: str) -> float:
    number = _number(text)
    if not 0 < number <= MAX_SECONDS:  # so that it is not nan either
        raise argparse.ArgumentTypeError(f"must be a number of seconds above 0, not {text!r}")
    return number


def _temperature(text: str) -> float:
    number = _number(text)
    if not 0 <= number <= MAX_TEMPERATURE:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to {MAX_TEMPERATURE:g}, not {text!r}")
    return number


def _share(text: str) -> float:
    number = _number(text)
    if not 0 < number <= 1:
        raise argparse.ArgumentTypeError(f"must be a number above 0 and up to 1, not {text!r}")
    return number


def _members(text: str) -> Mapping[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise argparse.ArgumentTypeError(f"is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise argparse.ArgumentTypeError("must be a JSON object")
    reserved = sorted(_RESERVED & document.keys())
    if reserved:
        raise argparse.ArgumentTypeError(f"must leave {reserved[0]!r} to the agent loop")
    return document


# --- what they come to ------------------------------------------------------------------------------------


def read_agent_settings(arguments: argparse.Namespace) -> AgentSettings:
    """The settings that the words of the command line stand for.

    Raises:
        InvalidInputError: options that do not go together, or a token that is not there.
    """
    _check_tool_server(arguments)
    plain = (
        *("mcp", "tool_server", "max_turns", "max_generated_tokens", "max_tool_calls", "parallel_calls"),
        *("observation_chars", "trajectory_s", "turn_s", "call_s", "temperature", "max_tokens", "top_p"),
        "token_ids",
    )
    return AgentSettings(
        parser=None if arguments.parser == NOTHING else arguments.parser,
        tools=("default",) if arguments.tools is None else _names(arguments.tools),
        without=_names(arguments.without or ""),
        tool_server_token=_token(arguments.tool_server_token_env),
        stop=tuple(arguments.stop or ()),
        extra_body=arguments.extra_body or {},
        **{name: getattr(arguments, name) for name in plain},
    )


def _check_tool_server(arguments: argparse.Namespace) -> None:
    url = arguments.tool_server
    if url is None and arguments.tool_server_token_env is not None:
        raise InvalidInputError("goes with --tool-server only", source="--tool-server-token-env")
    if url is not None and not url.startswith(("http://", "https://")):
        raise InvalidInputError("must look like http://host:port", source="--tool-server")


def _names(text: str) -> tuple[str, ...]:
    names = (name.strip() for name in text.split(","))
    return tuple(name for name in names if name and name != NOTHING)


def _token(variable: str | None) -> str | None:
    return None if variable is None else secret_of(variable, option="--tool-server-token-env")


def secret_of(variable: str, *, option: str) -> str:
    """A secret out of the environment.

    Raises:
        InvalidInputError: it is not there, or no header could carry it.
    """
    secret = os.environ.get(variable, "").strip()
    if not secret:
        raise InvalidInputError(f"the environment variable {variable} is not set", source=option)
    if not (secret.isascii() and secret.isprintable()):
        raise InvalidInputError(f"the environment variable {variable} is no token", source=option)
    return secret
