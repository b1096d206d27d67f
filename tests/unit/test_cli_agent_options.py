"""The options of ``run`` about the agent: what the words mean, and what rollouts are told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hermes_trio.agents.limits import LoopLimits
from hermes_trio.cli import make_parser
from hermes_trio.cli.agent_options import PARSER_NAMES, AgentSettings
from hermes_trio.cli.options import read_settings
from hermes_trio.cli.run import agent_options
from hermes_trio.cli.tools import RunTools, check_tools
from hermes_trio.errors import InvalidInputError
from hermes_trio.models.parsers import available_parsers
from hermes_trio.models.tokens import ASK_FOR_TOKEN_IDS
from hermes_trio.tools.registry import ToolRegistry


def _settings(*words):
    argv = ["run", *words]
    return read_settings(make_parser(argv).parse_args(argv)).agent


def test_every_option_reaches_its_setting(monkeypatch):
    """With the token taken from the environment, and lists put together."""
    monkeypatch.setenv("TOKEN", " sesame\n")
    settings = _settings(
        *(
            "--parser",
            "qwen3_coder",
            "--tools",
            "default, todo",
            "--without",
            "write_file",
            "--mcp",
            "m.json",
        ),
        *("--tool-server", "http://h:1", "--tool-server-token-env", "TOKEN", "--max-turns", "2"),
        *("--max-generated-tokens", "3", "--max-tool-calls", "4", "--parallel-calls", "5"),
        *("--observation-chars", "6", "--trajectory-s", "7.5", "--turn-s", "8", "--call-s", "9"),
        *("--temperature", "0", "--top-p", "0.5", "--max-tokens", "10", "--stop", "a", "--stop", "b"),
        *("--extra-body", '{"top_k": 20}', "--token-ids"),
    )
    assert settings == AgentSettings(
        parser="qwen3_coder",
        tools=("default", "todo"),
        without=("write_file",),
        mcp=Path("m.json"),
        tool_server="http://h:1",
        tool_server_token="sesame",
        max_turns=2,
        max_generated_tokens=3,
        max_tool_calls=4,
        parallel_calls=5,
        observation_chars=6,
        trajectory_s=7.5,
        turn_s=8,
        call_s=9,
        temperature=0,
        max_tokens=10,
        top_p=0.5,
        stop=("a", "b"),
        extra_body={"top_k": 20},
        token_ids=True,
    )


def test_no_secret_is_in_any_text_or_file(monkeypatch):
    """Neither the token, nor a password in the URL, nor what a user put into the body."""
    monkeypatch.setenv("TOKEN", "secret")
    settings = _settings(
        *("--tool-server", "http://u:secret@h/", "--tool-server-token-env", "TOKEN"),
        *("--extra-body", '{"api_key": "secret"}', "--mcp", "m.json"),
    )
    assert "secret" not in json.dumps(settings.to_mapping())
    assert settings.to_mapping()["extra_body"] == ["api_key"]
    assert settings.to_mapping()["mcp"] == "m.json"


def test_none_is_nothing():
    """No parser, no tools."""
    settings = _settings("--parser", "none", "--tools", "none")
    assert (settings.parser, settings.tools) == (None, ())


def test_the_names_of_parsers_are_those_there_are():
    """They are written down twice so that --help need not load them."""
    assert available_parsers() == PARSER_NAMES


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--parser", "klingon"), "--parser: invalid choice: 'klingon'"),
        (("--turn-s", "0"), "--turn-s: must be a number of seconds above 0, not '0'"),
        (("--call-s", "nan"), "--call-s: must be a number of seconds above 0, not 'nan'"),
        (("--trajectory-s", "soon"), "must be a number of seconds above 0, not 'soon'"),
        (("--max-tool-calls", "0"), "must be a whole number from 1 to 1000000, not '0'"),
        (("--top-p", "0"), "--top-p: must be a number above 0 and up to 1, not '0'"),
        (("--extra-body", "{"), "--extra-body: is not JSON"),
        (("--extra-body", "[" * 100_000), "--extra-body: is not JSON"),
        (("--extra-body", "[1]"), "--extra-body: must be a JSON object"),
        (("--extra-body", '{"messages": []}'), "must leave 'messages' to the agent loop"),
    ],
)
def test_a_bad_value_is_one_line_and_exit_code_2(words, text, capsys):
    """It names the option."""
    with pytest.raises(SystemExit) as caught:
        _settings(*words)
    told = capsys.readouterr().err
    assert (caught.value.code, told.count("\n")) == (2, 1)
    assert text in told


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--tool-server-token-env", "T"), "--tool-server-token-env: goes with --tool-server only"),
        (("--tool-server", "ws://h"), "--tool-server: must look like http://host:port"),
        (
            ("--tool-server", "http://h", "--tool-server-token-env", "NO_SUCH"),
            "--tool-server-token-env: the environment variable NO_SUCH is not set",
        ),
        (
            ("--tool-server", "http://h", "--tool-server-token-env", "ODD"),
            "--tool-server-token-env: the environment variable ODD is no token",
        ),
    ],
)
def test_options_that_do_not_go_together_are_named(monkeypatch, words, text):
    """One line each."""
    monkeypatch.setenv("ODD", "a\nb")
    with pytest.raises(InvalidInputError) as caught:
        _settings(*words)
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--tools", "fish"), "--tools: unknown toolset or tool 'fish'; toolsets: default, "),
        (("--without", "fish"), "--without: unknown toolset or tool 'fish'"),
        (("--mcp", "/nowhere.json"), "/nowhere.json: cannot be read: No such file or directory"),
    ],
)
def test_tools_that_there_are_not_are_told_before_anything_is_started(words, text):
    """Those of servers cannot be known yet."""
    with pytest.raises(InvalidInputError) as caught:
        check_tools(_settings(*words))
    assert str(caught.value).startswith(text)
    check_tools(_settings("--tool-server", "http://h", "--tools", "fish"))


def test_rollouts_are_told_what_was_asked_for():
    """The body in the order of who wins: the user's own members last."""
    tools = RunTools(offered=ToolRegistry(), known=ToolRegistry())
    settings = _settings(
        *("--turn-s", "8", "--parallel-calls", "2", "--top-p", "0.5", "--stop", "a", "--token-ids"),
        *("--extra-body", '{"top_p": 0.25}', "--parser", "none", "--max-tool-calls", "3"),
    )
    options = agent_options(settings, tools, seed=3)
    assert options.limits == LoopLimits(turn_s=8, parallel_calls=2, tool_calls=3)
    assert options.extra_body == {**ASK_FOR_TOKEN_IDS, "top_p": 0.25, "stop": ["a"]}
    assert (options.parser, options.seed, options.tools) == (None, 3, tools.offered)
    assert agent_options(AgentSettings(), tools, seed=None).extra_body == {}
