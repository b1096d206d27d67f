"""The argument policy: what the model may choose, what it may not, and what is refused before it runs."""

from __future__ import annotations

import math
from typing import Any, Never

import pytest

from hermes_trio.errors import InvalidInputError, Provenance
from hermes_trio.executor.config import ExecutorConfig
from hermes_trio.executor.options import CallOptions
from hermes_trio.executor.plan import (
    AskToolServer,
    Plan,
    Refuse,
    RunHandler,
    RunInSlot,
    limit_of,
    plan_call,
)
from hermes_trio.tools.calls import ToolCall, ToolResult
from hermes_trio.tools.registry import ToolRegistry, registry_of
from hermes_trio.tools.sandbox_tools import BASH
from hermes_trio.tools.schema import ToolSchema
from hermes_trio.tools.tool import Tool, ToolContext
from hermes_trio.tools.wrappers import renamed
from hermes_trio.wire.operations import Operation

REGISTRY = registry_of("full")
REGISTRY.add(ToolSchema("web", "Search.", parameters={}, external=True))


def plan(name: str, arguments: dict[str, Any], **settings: Any) -> Plan:
    """The plan for a call under these settings."""
    call = ToolCall(name=name, arguments=arguments, uniq_id="u1")
    return plan_call(call, registry=REGISTRY, config=ExecutorConfig(**settings))


def refused(name: str, arguments: dict[str, Any], **settings: Any) -> ToolResult:
    """The answer to a call of which nothing may run."""
    decision = plan(name, arguments, **settings)
    assert isinstance(decision, Refuse)
    assert not decision.result.success
    assert decision.result.uniq_id == "u1"
    return decision.result


def in_slot(name: str, arguments: dict[str, Any], **settings: Any) -> RunInSlot:
    """The plan for a call that runs in a slot."""
    decision = plan(name, arguments, **settings)
    assert isinstance(decision, RunInSlot)
    return decision


@pytest.mark.parametrize("name", ["bash", "terminal"])
def test_terminal_is_bash_and_the_model_chooses_no_rights(name: str) -> None:
    """Rights in the arguments are dropped, and the configured ones are put in."""
    asked = {"command": "ls", "allow_network": True, "require_sandbox": False, "timeout": 5}
    decision = in_slot(name, asked, allow_network=False, require_sandbox=True)
    assert decision.operation is Operation.BASH
    assert decision.arguments == {"command": "ls", "allow_network": False, "require_sandbox": True}
    assert decision.limit_s == 5.0


@pytest.mark.parametrize("name", ["bash_stateful", "terminal_stateful"])
def test_stateful_tools_are_one_operation(name: str) -> None:
    """The ancestor's two names are one thing here too."""
    asked = {"command": "ls", "require_stateful_sandbox": False, "timeout": 2}
    decision = in_slot(name, asked, require_stateful_sandbox=True)
    assert decision.operation is Operation.BASH_STATEFUL
    assert decision.arguments == {
        "command": "ls",
        "allow_network": True,
        "require_stateful_sandbox": True,
    }


def test_tmux_keeps_its_own_arguments_and_loses_the_rights() -> None:
    """Everything but the rights passes through."""
    decision = in_slot("tmux", {"action": "start", "allow_network": True}, allow_network=False)
    assert decision.operation is Operation.TERMINAL
    assert decision.arguments["action"] == "start"
    assert decision.arguments["allow_network"] is False


def test_optional_arguments_of_a_command_pass() -> None:
    """Directory, shell and standard input are the model's to choose."""
    decision = in_slot("bash", {"command": "cat", "cwd": "sub", "shell": "sh", "stdin": "é"})
    assert (decision.arguments["cwd"], decision.arguments["shell"]) == ("sub", "sh")
    assert decision.payload == "é".encode()


def test_file_tools_send_content_as_bytes() -> None:
    """Content travels as payload, never inside JSON."""
    decision = in_slot("write_file", {"path": "a", "content": "é\0"})
    assert (decision.arguments, decision.payload) == ({"path": "a"}, b"\xc3\xa9\0")
    assert in_slot("read_file", {"path": "a"}).arguments == {"path": "a"}


@pytest.mark.parametrize("name", ["bash", "terminal"])
def test_background_is_refused_in_the_ancestors_words(name: str) -> None:
    """Clients match on this text."""
    result = refused(name, {"command": "sleep 9", "background": True})
    assert result.error == "terminal background execution is not supported in sandbox"
    assert result.provenance is Provenance.DENIED


@pytest.mark.parametrize("name", ["nope", "todo"])
def test_what_the_executor_cannot_run_is_an_unknown_tool(name: str) -> None:
    """Also a tool that the agent loop keeps for itself."""
    result = refused(name, {"todos": []})
    assert result.error == f"Unknown tool: {name}"
    assert result.provenance is Provenance.INVALID_REQUEST


def test_external_tools_need_a_tool_server() -> None:
    """Without one the ancestor's sentence; with one the call goes there."""
    result = refused("web", {})
    assert result.error == "External tool not available (ToolServer not configured): web"
    assert result.provenance is Provenance.UNAVAILABLE
    decision = plan("web", {"timeout": 7}, tool_server_url="http://127.0.0.1:1")
    assert isinstance(decision, AskToolServer)
    assert (decision.tool.name, decision.limit_s) == ("web", 7.0)


def handler(call: ToolCall, context: ToolContext) -> Never:
    """Never run here."""
    raise AssertionError


MINE = Tool(ToolSchema("mine", parameters={"timeout": {"type": "integer"}}), handler=handler, limit_s=20.0)


def decide(tool: Tool, arguments: dict[str, Any], limit_s: float | None = None) -> Plan:
    """The plan where this is the only tool."""
    call = ToolCall(name=tool.name, arguments=arguments)
    return plan_call(call, registry=ToolRegistry([tool]), config=ExecutorConfig(), limit_s=limit_s)


@pytest.mark.parametrize(("asked_s", "limit_s"), [(None, 20.0), (5.0, 5.0), (600.0, 20.0)])
def test_a_tool_with_a_handler_is_run_by_it_within_its_own_limit(
    asked_s: float | None, limit_s: float
) -> None:
    """An argument that happens to be called ``timeout`` may be milliseconds: it is the handler's."""
    assert decide(MINE, {"timeout": 30_000}, asked_s) == RunHandler(tool=MINE, limit_s=limit_s)


@pytest.mark.parametrize(
    "tool", [MINE, Tool(ToolSchema("web", parameters=MINE.schema.parameters, external=True))]
)
def test_arguments_are_checked_whoever_runs_the_tool(tool: Tool) -> None:
    """Nothing has to be asked that would be refused there."""
    call = ToolCall(name=tool.name, arguments={"timeout": "soon"})
    config = ExecutorConfig(tool_server_url="http://127.0.0.1:1")
    decision = plan_call(call, registry=ToolRegistry([tool]), config=config)
    assert isinstance(decision, Refuse)
    assert "'timeout' must be integer, not string" in decision.result.error


def test_a_sandbox_tool_under_another_name_is_the_same_operation() -> None:
    """With the rules of the tool that it is."""
    [shell] = renamed([BASH], {"bash": "sh"})
    decision = decide(shell, {"command": "ls"})
    assert isinstance(decision, RunInSlot)
    assert decision.operation is Operation.BASH
    assert isinstance(decide(shell, {"command": "ls", "background": True}), Refuse)


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("bash", {}, "'command' is required"),
        ("bash", {"command": 3}, "'command' must be string"),
        ("bash", {"command": "a\0b"}, "'command' holds a NUL"),
        ("bash", {"command": "\ud800"}, "'command' is not valid Unicode at character 0"),
        ("bash", {"command": "ls", "cwd": 3}, "'cwd' must be a string"),
        ("write_file", {"path": "a", "content": None}, "'content' must be string"),
        (
            "write_file",
            {"path": "a", "content": "x" * 100_001},
            "Content too large: 100001 bytes (max 100000)",
        ),
        ("read_file", {"path": "\0"}, "'path' holds a NUL"),
    ],
)
def test_arguments_that_cannot_be_run_are_named(name: str, arguments: dict[str, Any], says: str) -> None:
    """The model is told which argument is wrong, and nothing runs."""
    result = refused(name, arguments)
    assert says in result.error
    assert result.provenance is Provenance.INVALID_REQUEST


@pytest.mark.parametrize(
    ("timeout", "asked_s", "limit_s"),
    [
        (None, None, 30.0),
        (5, None, 5.0),
        (0.01, None, 1.0),
        (-3, None, 1.0),
        (10**9, None, 600.0),
        (math.inf, None, 600.0),
        (math.nan, None, 30.0),
        ("9", None, 30.0),
        (True, None, 30.0),
        (5, 7.0, 7.0),
        (None, 0.5, 1.0),
        (None, 1e9, 600.0),
    ],
)
def test_limits_are_clamped(timeout: object, asked_s: float | None, limit_s: float) -> None:
    """1 to 600 seconds, the caller's before the model's, the default when neither says a number."""
    assert limit_of({"timeout": timeout}, asked_s=asked_s, default_s=30.0) == limit_s


@pytest.mark.parametrize(
    "setting", [{"batch_window_ms": -1}, {"max_batch_size": 0}, {"default_limit_s": math.nan}]
)
def test_settings_out_of_range_are_named(setting: dict[str, Any]) -> None:
    """A typo in a config is one sentence, not a hang."""
    with pytest.raises(InvalidInputError, match=next(iter(setting))):
        ExecutorConfig(**setting)


def test_the_token_is_not_shown() -> None:
    """A config ends up in logs."""
    assert "s3cret" not in repr(ExecutorConfig(tool_server_token="s3cret"))


def test_a_callers_options_go_with_a_command_and_with_nothing_else() -> None:
    """What is not asked for is not sent; what the model says of standard input gives way."""
    options = CallOptions(parallel=True, stdin=b"x", environment={"A": "b"}, no_output_limit_s=2.0)
    call = ToolCall(name="bash", arguments={"command": "cat", "stdin": "theirs"})
    plan = plan_call(call, registry=REGISTRY, config=ExecutorConfig(), options=options)
    assert isinstance(plan, RunInSlot)
    assert plan.payload == b"x"
    assert {name: plan.arguments[name] for name in ("parallel", "environment", "no_output_limit_s")} == {
        "parallel": True,
        "environment": {"A": "b"},
        "no_output_limit_s": 2.0,
    }
    assert not {"sha256", "max_output_bytes"} & set(plan.arguments)
    read = ToolCall(name="read_file", arguments={"path": "f"})
    plan = plan_call(read, registry=REGISTRY, config=ExecutorConfig(), options=options)
    assert isinstance(plan, RunInSlot)
    assert (plan.payload, set(plan.arguments)) == (b"", {"path"})
    plan = plan_call(call, registry=REGISTRY, config=ExecutorConfig(), options=CallOptions())
    assert isinstance(plan, RunInSlot)
    assert plan.payload == b"theirs"


def test_silence_is_never_shorter_than_two_heartbeats() -> None:
    """Else a link would be given up between them."""
    with pytest.raises(InvalidInputError, match="at least twice heartbeat_s"):
        ExecutorConfig(heartbeat_s=5.0, dead_after_s=9.0)
