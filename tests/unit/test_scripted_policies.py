"""The policies of the scripted model, without a server."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hermes_trio.agents.prompt import task_prompt
from hermes_trio.errors import InvalidInputError
from hermes_trio.testing import scripted
from hermes_trio.testing.scripted import (
    Mistake,
    Reply,
    ScriptedCall,
    erring_policy,
    policy_by_name,
    policy_names,
    reference_policy,
)
from hermes_trio.testing.scripted.erring import GAVE_UP, UNKNOWN_TOOL, WRONG_COMMAND
from hermes_trio.testing.scripted.policies import NO_SHELL, SOLVED, UNKNOWN_TASK
from hermes_trio.testing.scripted.reply import policy_for
from hermes_trio.tools.registry import default_registry
from hermes_trio.tools.sandbox_tools import BASH, READ_FILE

TOOLS = default_registry().openai_tools()
REFERENCES = {"t": ["one", "two", "one"]}


def _assistant(arguments: str) -> dict[str, Any]:
    call = {"id": "c", "type": "function", "function": {"name": "terminal", "arguments": arguments}}
    return {"role": "assistant", "content": "", "tool_calls": [call]}


def _after(*commands: str) -> list[dict[str, Any]]:
    called = [_assistant(json.dumps({"command": command})) for command in commands]
    return [*task_prompt("t", "do"), *called]


@pytest.mark.parametrize(
    ("commands", "following"),
    [((), "one"), (("one",), "two"), (("one", "one"), "two"), (("one", "two"), "one"), (("two",), "one")],
)
def test_reference_calls_the_next_command_that_was_not_called(
    commands: tuple[str, ...], following: str
) -> None:
    """What counts is the order, not the number of turns."""
    reply = reference_policy(REFERENCES)(_after(*commands), TOOLS)
    assert reply.calls == (ScriptedCall.of("terminal", command=following),)


def test_reference_ends_with_a_sentence() -> None:
    """After the last command nothing is called."""
    assert reference_policy(REFERENCES)(_after("one", "two", "one"), TOOLS) == Reply(content=SOLVED)


def test_reference_is_not_put_off_by_bad_calls_in_the_transcript() -> None:
    """They called no command."""
    messages = [*_after("one"), _assistant("{"), _assistant("[1]"), {"role": "tool", "content": ""}]
    (call,) = reference_policy(REFERENCES)(messages, TOOLS).calls
    assert json.loads(call.arguments) == {"command": "two"}


def test_reference_uses_bash_where_there_is_no_terminal() -> None:
    """And says so where there is neither."""
    policy = reference_policy(REFERENCES)
    assert policy(_after(), [BASH.to_openai()]).calls[0].name == "bash"
    assert policy(_after(), [READ_FILE.to_openai()]) == Reply(content=NO_SHELL)


def test_an_unknown_task_is_answered_in_words() -> None:
    """No marker, or an id without commands."""
    policy = reference_policy(REFERENCES)
    assert policy([{"role": "user", "content": "hi"}], TOOLS) == Reply(content=UNKNOWN_TASK)
    assert policy(task_prompt("other", "x"), TOOLS) == Reply(content=UNKNOWN_TASK)


@pytest.mark.parametrize(
    ("mistake", "expected"),
    [
        (Mistake.WRONG_COMMAND, Reply(calls=(ScriptedCall.of("terminal", command=WRONG_COMMAND),))),
        (Mistake.UNKNOWN_TOOL, Reply(calls=(ScriptedCall.of(UNKNOWN_TOOL, input="x"),))),
        (Mistake.BAD_JSON, Reply(calls=(ScriptedCall("terminal", '{"command": "one"'),))),
        (Mistake.GIVE_UP, Reply(content=GAVE_UP)),
    ],
)
def test_each_mistake_is_made_as_it_says(mistake: Mistake, expected: Reply) -> None:
    """Certain mistakes of one kind."""
    policy = erring_policy(reference_policy(REFERENCES), probability=1.0, mistakes=[mistake])
    assert policy(_after(), TOOLS) == expected


def test_erring_depends_on_seed_task_and_turn_only() -> None:
    """The same transcript meets the same fate; another turn or seed may not."""
    references = {"t": [f"c{i}" for i in range(40)]}

    def fates(seed: int) -> list[Reply]:
        policy = policy_by_name("erring", references, seed=seed)
        return [policy(_after(*references["t"][:turn]), TOOLS) for turn in range(40)]

    reference = reference_policy(references)
    right = [reference(_after(*references["t"][:turn]), TOOLS) for turn in range(40)]
    wrong = sum(fate != good for fate, good in zip(fates(0), right, strict=True))
    assert fates(0) == fates(0)
    assert fates(0) != fates(1)
    assert 1 <= wrong <= 20


def test_the_seed_of_a_request_turns_the_dice_of_erring() -> None:
    """So that the members of a group differ; the same seed meets the same fate again."""
    policy = erring_policy(reference_policy(REFERENCES), probability=0.5)
    fates = [policy_for(policy, seed)(_after(), TOOLS) for seed in range(20)]
    assert fates == [policy_for(policy, seed)(_after(), TOOLS) for seed in range(20)]
    assert len({str(fate) for fate in fates}) > 2


def test_a_policy_without_dice_or_a_request_without_seed_is_left_alone() -> None:
    """Nothing to turn, or nothing to turn it by."""
    reference = reference_policy(REFERENCES)
    erring = erring_policy(reference)
    assert policy_for(reference, 3) is reference
    assert policy_for(erring, None) is erring


def test_erring_leaves_the_last_word_alone() -> None:
    """Where no tool is called there is nothing to spoil."""
    policy = erring_policy(reference_policy(REFERENCES), probability=1.0)
    assert policy(_after("one", "two", "one"), TOOLS) == Reply(content=SOLVED)


def test_erring_never_errs_at_probability_zero() -> None:
    """It is then the reference."""
    policy = erring_policy(reference_policy(REFERENCES), probability=0.0)
    assert policy(_after(), TOOLS) == reference_policy(REFERENCES)(_after(), TOOLS)


def test_policies_are_found_by_name() -> None:
    """An unknown one is refused with the known ones."""
    assert policy_names() == ("reference", "erring")
    assert policy_by_name("reference", REFERENCES)(_after(), TOOLS).calls
    with pytest.raises(InvalidInputError, match="unknown scripted policy 'x'; there are: reference, erring"):
        policy_by_name("x", REFERENCES)


def test_names_of_the_server_are_loaded_on_use() -> None:
    """And an unknown name is an ordinary attribute error."""
    assert callable(scripted.open_scripted_model)
    with pytest.raises(AttributeError, match="no attribute 'nope'"):
        _ = scripted.nope
