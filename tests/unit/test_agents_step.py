"""The agent without I/O."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hermes_trio.agents.answer import Answer, CallRequest
from hermes_trio.agents.events import (
    AskModel,
    CallEnded,
    Finish,
    ModelAnswered,
    ModelFailed,
    RunCalls,
    Started,
    Wait,
)
from hermes_trio.agents.result import Ending
from hermes_trio.agents.step import Conversation
from hermes_trio.errors import LocalProtocolError, Provenance
from hermes_trio.models.completion import Usage
from hermes_trio.tools.calls import ToolResult
from hermes_trio.tools.registry import default_registry

OK = ToolResult(True, "out", metadata={"exit_code": 0})
LOST = ToolResult(False, "half an outp", "the daemon went away", provenance=Provenance.SANDBOX_LOST)


def _asking(*, max_turns: int = 3, messages: list[dict[str, Any]] | None = None) -> Conversation:
    start = [{"role": "user", "content": "go"}] if messages is None else messages
    conversation = Conversation(start, default_registry(), max_turns=max_turns)
    assert conversation.step(Started()) == AskModel()
    return conversation


def _calls(*ids: str, arguments: str = '{"command": "ls"}') -> ModelAnswered:
    calls = tuple(CallRequest(name="bash", arguments=arguments, call_id=call_id) for call_id in ids)
    return ModelAnswered(Answer(calls=calls))


def _contents(conversation: Conversation) -> dict[str, Any]:
    tools = (message for message in conversation.messages if message["role"] == "tool")
    return {message["tool_call_id"]: json.loads(message["content"]) for message in tools}


def test_an_answer_without_calls_is_the_natural_end() -> None:
    """The text is the last message."""
    conversation = _asking()
    usage = Usage(prompt_tokens=2, completion_tokens=1, total_tokens=3)
    answer = Answer(content="done", reasoning="because", finish_reason="stop", usage=usage)
    assert conversation.step(ModelAnswered(answer)) == Finish(Ending.FINISHED)
    assert conversation.messages[-1] == {
        "role": "assistant",
        "content": "done",
        "reasoning_content": "because",
    }
    assert (conversation.turns_used, conversation.usage, conversation.finish_reason) == (1, usage, "stop")
    assert conversation.reasoning_per_turn == ["because"]


def test_calls_are_written_to_the_transcript_run_and_answered() -> None:
    """One turn with one call, and the model is asked again."""
    conversation = _asking()
    action = conversation.step(_calls("c1"))
    assert isinstance(action, RunCalls)
    assert [call.uniq_id for call in action.calls] == ["c1"]
    assert conversation.messages[1]["tool_calls"] == [
        {"id": "c1", "type": "function", "function": {"name": "bash", "arguments": '{"command": "ls"}'}}
    ]
    assert conversation.step(CallEnded("c1", OK)) == AskModel()
    assert _contents(conversation) == {"c1": {"output": "out", "exit_code": 0, "error": None}}
    assert conversation.reasoning_per_turn == [None]


def test_answers_come_in_the_order_of_the_calls_however_they_end() -> None:
    """The second call ends first and waits for its place."""
    conversation = _asking()
    conversation.step(_calls("a", "b"))
    assert conversation.step(CallEnded("b", OK)) == Wait()
    assert _contents(conversation) == {}
    assert conversation.step(CallEnded("a", OK)) == AskModel()
    assert list(_contents(conversation)) == ["a", "b"]


def test_a_turn_of_refused_calls_asks_again_at_once() -> None:
    """Nothing is to be run, everything is answered and counted."""
    conversation = _asking()
    bad = Answer(
        calls=(
            CallRequest(name="nope", arguments="x" * 300, call_id="a"),
            CallRequest(name="bash", arguments="{", call_id="b"),
            CallRequest(name="memory", arguments="{}", call_id="c"),
        )
    )
    assert conversation.step(ModelAnswered(bad)) == AskModel()
    assert list(_contents(conversation)) == ["a", "b", "c"]
    unknown, broken = conversation.tool_errors
    assert (unknown.turn, unknown.tool_name, unknown.error) == (1, "nope", "Unknown tool 'nope'")
    assert unknown.arguments == "x" * 200
    assert "char 1" in broken.error


def test_a_refused_call_between_good_ones_is_answered_in_its_place() -> None:
    """The good ones run, the order stays."""
    conversation = _asking()
    calls = tuple(
        CallRequest(name=name, arguments='{"command": "ls"}', call_id=call_id)
        for name, call_id in [("bash", "a"), ("nope", "b"), ("bash", "c")]
    )
    action = conversation.step(ModelAnswered(Answer(calls=calls)))
    assert isinstance(action, RunCalls)
    assert [call.uniq_id for call in action.calls] == ["a", "c"]
    conversation.step(CallEnded("a", OK))
    assert list(_contents(conversation)) == ["a", "b"]
    assert conversation.step(CallEnded("c", OK)) == AskModel()


def test_the_turn_limit_ends_after_the_last_answers() -> None:
    """It is a limit, not a success."""
    conversation = _asking(max_turns=1)
    conversation.step(_calls("a"))
    assert conversation.step(CallEnded("a", OK)) == Finish(Ending.TURN_LIMIT, Provenance.LIMIT_EXCEEDED)
    assert conversation.turns_used == 1


def test_no_turns_at_all_is_a_limit_too() -> None:
    """The model is never asked."""
    conversation = Conversation([], default_registry(), max_turns=0)
    assert conversation.step(Started()) == Finish(Ending.TURN_LIMIT, Provenance.LIMIT_EXCEEDED)


def test_a_model_failure_ends_with_its_provenance_and_counts_the_turn() -> None:
    """The transcript stays as it was."""
    conversation = _asking()
    finish = conversation.step(ModelFailed("503"))
    assert finish == Finish(Ending.MODEL_FAILED, Provenance.MODEL_ERROR, "503")
    assert conversation.turns_used == 1
    assert len(conversation.messages) == 1


def test_a_failing_command_is_ordinary_and_a_limit_is_counted() -> None:
    """Both go to the model as they are."""
    conversation = _asking()
    conversation.step(_calls("a", "b"))
    exited = ToolResult(False, "", "Exit code: 2", {"exit_code": 2}, provenance=Provenance.TOOL_ERROR)
    limited = ToolResult(
        False,
        "x" * 900,
        "Command timed out after 1s",
        {"exit_code": -1},
        provenance=Provenance.LIMIT_EXCEEDED,
    )
    conversation.step(CallEnded("a", exited))
    assert conversation.step(CallEnded("b", limited)) == AskModel()
    (error,) = conversation.tool_errors
    assert error.error == "Command timed out after 1s"
    assert len(error.tool_result) == 500
    assert _contents(conversation)["a"]["exit_code"] == 2


def test_an_infrastructure_failure_ends_the_trajectory_and_is_never_shown_as_output() -> None:
    """Every call of the turn is answered, none with what the lost sandbox had printed."""
    conversation = _asking()
    conversation.step(_calls("a", "b", "c"))
    conversation.step(CallEnded("a", OK))
    finish = conversation.step(CallEnded("b", LOST))
    assert finish == Finish(Ending.INFRASTRUCTURE, Provenance.SANDBOX_LOST, "the daemon went away")
    answers = _contents(conversation)
    assert list(answers) == ["a", "b", "c"]
    assert "output" not in answers["b"]
    assert "half an outp" not in str(conversation.messages)
    assert "not completed" in answers["c"]["error"]
    assert [error.error for error in conversation.tool_errors] == ["the daemon went away"]


def test_abandoning_answers_what_is_open_and_can_be_repeated() -> None:
    """A cancelled loop leaves a transcript that a server accepts."""
    conversation = _asking()
    conversation.step(_calls("a", "b"))
    conversation.step(CallEnded("b", OK))
    conversation.abandon()
    conversation.abandon()
    answers = _contents(conversation)
    assert "not completed" in answers["a"]["error"]
    assert answers["b"]["output"] == "out"


def test_missing_and_repeated_ids_are_replaced_in_call_and_answer() -> None:
    """Answers find their calls, also where servers number from 0 in each turn."""
    old = [
        {"role": "assistant", "content": "", "tool_calls": [{"id": "call_1_0"}]},
        {"role": "tool", "tool_call_id": "call_1_0", "content": ""},
    ]
    conversation = _asking(messages=list(old))
    action = conversation.step(_calls("", "x", "x", "call_1_0"))
    assert isinstance(action, RunCalls)
    ids = [call.uniq_id for call in action.calls]
    assert ids == ["call_1_0_1", "x", "call_1_2", "call_1_3"]
    assert [call["id"] for call in conversation.messages[-1]["tool_calls"]] == ids


@pytest.mark.parametrize(
    "event", [Started(), CallEnded("a", OK), CallEnded("zzz", OK)], ids=["started", "not-open", "unknown"]
)
def test_an_event_out_of_order_is_a_bug_and_says_so(event: Started | CallEnded) -> None:
    """The transcript is not touched."""
    conversation = _asking()
    conversation.step(_calls("a", "b"))
    conversation.step(CallEnded("a", OK))
    before = list(conversation.messages)
    with pytest.raises(LocalProtocolError):
        conversation.step(event)
    assert conversation.messages == before


def test_events_of_the_model_are_refused_while_calls_run() -> None:
    """And calls are refused while the model is asked."""
    conversation = _asking()
    with pytest.raises(LocalProtocolError, match="CallEnded while asking"):
        conversation.step(CallEnded("a", OK))
    conversation.step(_calls("a"))
    with pytest.raises(LocalProtocolError, match="ModelFailed while calling"):
        conversation.step(ModelFailed("x"))
    with pytest.raises(LocalProtocolError, match="ModelAnswered while calling"):
        conversation.step(ModelAnswered(Answer()))


def test_the_repr_shows_where_it_stands() -> None:
    """Operators read it."""
    conversation = _asking()
    conversation.step(_calls("a"))
    assert repr(conversation) == "<Conversation calling, turn 1/3, 1 calls open, 2 messages>"
