"""The options of ``run``: what the words mean, and which do not go together."""

from __future__ import annotations

from pathlib import Path

import pytest

from hermes_trio.cli import make_parser, options
from hermes_trio.cli.agent_options import AgentSettings
from hermes_trio.cli.options import read_settings
from hermes_trio.errors import InvalidInputError
from hermes_trio.rollouts.tasks import shipped_tasks_path
from hermes_trio.testing.scripted import policy_names


def _settings(*words):
    argv = ["run", *words]
    return read_settings(make_parser(argv).parse_args(argv))


@pytest.mark.parametrize("words", [(), ("shipped",)])
def test_without_a_file_the_shipped_tasks_are_run_by_the_reference(words):
    """The one command of the README."""
    settings = _settings(*words)
    assert settings.tasks == shipped_tasks_path()
    assert (settings.model_url, settings.scripted, settings.out) == (None, "reference", None)


def test_as_many_trajectories_live_as_there_are_slots_unless_told():
    """More would only wait, fewer would leave slots idle."""
    assert _settings("--slots", "5").concurrency == 5
    assert _settings("--slots", "5", "--concurrency", "9").concurrency == 9


def test_every_option_reaches_its_setting(monkeypatch):
    """With the key taken from the environment."""
    monkeypatch.setenv("KEY", " secret\n")
    settings = _settings(
        *(
            "tasks.jsonl",
            "--model",
            "http://h/v1",
            "--model-name",
            "m",
            "--api-key-env",
            "KEY",
            "--seed",
            "3",
        ),
        *(
            "--slots",
            "8",
            "--daemons",
            "2",
            "--isolation",
            "required",
            "--allow-network",
            "--json",
            "--quiet",
        ),
        *("--group-size", "4", "--max-turns", "6", "--limit", "7", "--out", "o"),
    )
    assert settings == options.RunSettings(
        tasks=Path("tasks.jsonl"),
        limit=7,
        group_size=4,
        slots=8,
        daemons=2,
        isolation="required",
        allow_network=True,
        concurrency=8,
        agent=AgentSettings(max_turns=6),
        model_url="http://h/v1",
        model_name="m",
        api_key="secret",
        seed=3,
        out=Path("o"),
        as_json=True,
        quiet=True,
    )


def test_the_key_is_in_no_text_and_no_file(monkeypatch):
    """Neither the repr nor summary.json; the URL may hold a password, so it stays out too."""
    monkeypatch.setenv("KEY", "secret")
    settings = _settings("--model", "http://u:secret@h/v1", "--api-key-env", "KEY")
    assert "secret" not in str(settings.to_mapping())
    assert "api_key" not in repr(settings)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--model-name", "m"), "--model-name: goes with --model only"),
        (("--api-key-env", "K"), "--api-key-env: goes with --model only"),
        (
            ("--model", "http://h", "--api-key-env", "NO_SUCH_KEY"),
            "--api-key-env: the environment variable NO_SUCH_KEY is not set",
        ),
    ],
)
def test_options_that_do_not_go_together_are_named(words, text):
    """One line each."""
    with pytest.raises(InvalidInputError) as caught:
        _settings(*words)
    assert str(caught.value) == text


def test_the_scripted_names_are_those_of_the_test_kit():
    """They are written down twice so that --help need not load the kit."""
    assert policy_names() == options.SCRIPTED_NAMES


STATIC = ("--backend", "static", "--daemon-url", "ws://h:1/?key=secret")


def test_daemons_that_run_already_are_reached_with_the_first_line_of_their_token_file(tmp_path):
    """A second line is the token that is being replaced; neither is written anywhere, nor is a query."""
    file = tmp_path / "token"
    file.write_text("sesame\nold\n")
    settings = _settings(*STATIC, "--token-file", str(file), "--temperature", "0.5", "--max-tokens", "9")
    assert (settings.backend, settings.token, settings.concurrency) == ("static", "sesame", 16)
    assert (settings.agent.temperature, settings.agent.max_tokens) == (0.5, 9)
    assert settings.to_mapping()["daemon_urls"] == ["ws://h:1"]
    assert "sesame" not in repr(settings) + str(settings.to_mapping())


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--daemon-url", "ws://h"), "--daemon-url: goes with --backend static only"),
        (("--token-file", "f"), "--token-file: goes with --backend static only"),
        (("--backend", "static"), "--daemon-url: --backend static wants at least one"),
        ((*STATIC, "--slots", "3"), "--slots: goes with --backend local only"),
        (
            (*STATIC, "--isolation", "none"),
            "--isolation none: a daemon that runs already isolates as it does",
        ),
        ((*STATIC, "--token-file", "/nowhere"), "/nowhere: cannot be read: No such file or directory"),
        (
            ("--backend", "static", "--daemon-url", "http://h"),
            "'http://h': a sandbox daemon's URL begins with ws:// or wss://",
        ),
    ],
)
def test_options_of_another_backend_are_refused(words, text):
    """Instead of doing nothing."""
    with pytest.raises(InvalidInputError) as caught:
        _settings(*words)
    assert str(caught.value) == text


@pytest.mark.parametrize("text", ["-1", "nan", "inf", "hot"])
def test_a_temperature_that_is_none_is_refused(text, capsys):
    """In one line, with exit code 2."""
    with pytest.raises(SystemExit) as caught:
        _settings("--temperature", text)
    assert caught.value.code == 2
    assert "must be a number from 0 to 100" in capsys.readouterr().err
