"""What one trajectory may use, and how a conversation ends by it."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from hermes_trio.agents.answer import Answer, CallRequest
from hermes_trio.agents.events import (
    AskModel,
    CallEnded,
    Finish,
    ModelAnswered,
    RunCalls,
    Started,
    Stopped,
    TimeUp,
    TurnTimeUp,
    Wait,
)
from hermes_trio.agents.limits import LoopLimits
from hermes_trio.agents.result import Ending
from hermes_trio.agents.step import Conversation
from hermes_trio.errors import InvalidInputError, LocalProtocolError, Provenance
from hermes_trio.models.completion import Usage
from hermes_trio.models.tokens import CallTokens
from hermes_trio.tools.calls import ToolResult
from hermes_trio.tools.registry import default_registry

OK = ToolResult(True, "out", metadata={"exit_code": 0})
FAILED = ToolResult(False, "no", "Exit code: 1", {"exit_code": 1}, provenance=Provenance.TOOL_ERROR)


def _asking(*, max_tokens: int | None = None, **limits: Any) -> Conversation:
    conversation = Conversation(
        [{"role": "user", "content": "go"}],
        default_registry(),
        max_turns=9,
        max_tokens=max_tokens,
        limits=LoopLimits(**limits),
    )
    assert isinstance(conversation.step(Started()), AskModel)
    return conversation


def _calls(*ids: str, tokens: int = 0, arguments: str = '{"command": "ls"}', **more: Any) -> ModelAnswered:
    calls = tuple(CallRequest(name="bash", arguments=arguments, call_id=call_id) for call_id in ids)
    return ModelAnswered(Answer(calls=calls, usage=Usage(completion_tokens=tokens), **more))


def _answers(conversation: Conversation) -> list[dict[str, Any]]:
    return [json.loads(each["content"]) for each in conversation.messages if each["role"] == "tool"]


@pytest.mark.parametrize(
    "name", ["trajectory_s", "turn_s", "tool_calls", "parallel_calls", "observation_chars"]
)
@pytest.mark.parametrize("value", [0, -1, math.nan])
def test_a_limit_that_is_not_positive_is_refused_by_name(name: str, value: float) -> None:
    """Zero would be a loop that can do nothing and looks like a failing model."""
    with pytest.raises(InvalidInputError, match=f"field '{name}': must be positive"):
        LoopLimits(**{name: value})


def test_each_request_asks_for_no_more_tokens_than_are_left() -> None:
    """The turn's own limit counts as long as it is the tighter one."""
    conversation = _asking(max_tokens=60, generated_tokens=100)
    conversation.step(_calls("a", tokens=30))
    assert conversation.step(CallEnded("a", OK)) == AskModel(60)
    conversation.step(_calls("b", tokens=50))
    assert conversation.step(CallEnded("b", OK)) == AskModel(20)


def test_used_up_tokens_end_the_loop_after_the_answers() -> None:
    """The calls of the last answer are run: the model said them within its limit."""
    conversation = _asking(generated_tokens=10)
    conversation.step(_calls("a", tokens=12))
    assert conversation.step(CallEnded("a", OK)) == Finish(Ending.TOKEN_LIMIT, Provenance.LIMIT_EXCEEDED)
    assert len(_answers(conversation)) == 1


def test_an_answer_cut_off_by_the_token_limit_is_no_natural_end() -> None:
    """But one that ended by itself is, at the very last token too."""
    for reason, ending in [("length", Ending.TOKEN_LIMIT), ("stop", Ending.FINISHED)]:
        conversation = _asking(generated_tokens=10)
        finish = conversation.step(_calls(tokens=10, finish_reason=reason))
        assert isinstance(finish, Finish)
        assert finish.ending is ending


def test_what_a_sub_agent_generates_counts() -> None:
    """Its parent pays for it."""
    conversation = _asking(generated_tokens=10)
    conversation.step(_calls("a", tokens=1))
    assert conversation.step(CallEnded("a", OK, generated_tokens=4)) == AskModel(5)


def test_calls_above_the_limit_are_answered_and_the_model_may_conclude() -> None:
    """Two are run, the third is told why not, and the next turn's text is a natural end."""
    conversation = _asking(tool_calls=2)
    action = conversation.step(_calls("a", "b", "c"))
    assert isinstance(action, RunCalls)
    assert [call.uniq_id for call in action.calls] == ["a", "b"]
    conversation.step(CallEnded("a", OK))
    assert isinstance(conversation.step(CallEnded("b", OK)), AskModel)
    assert _answers(conversation)[2]["error"].startswith("Not run: the 2 tool calls of this trajectory")
    assert conversation.step(ModelAnswered(Answer(content="done"))) == Finish(Ending.FINISHED)


def test_calling_on_when_no_calls_are_left_ends_the_loop() -> None:
    """The call is answered all the same."""
    conversation = _asking(tool_calls=1)
    conversation.step(_calls("a"))
    conversation.step(CallEnded("a", OK))
    finish = conversation.step(_calls("b"))
    assert isinstance(finish, Finish)
    assert (finish.ending, finish.provenance) == (Ending.CALL_LIMIT, Provenance.LIMIT_EXCEEDED)
    assert "used up" in _answers(conversation)[1]["error"]


def test_a_turn_of_a_thousand_calls_runs_the_first_few() -> None:
    """The others are told to come again."""
    conversation = _asking(calls_per_turn=2)
    action = conversation.step(_calls(*map(str, range(1000))))
    assert isinstance(action, RunCalls)
    assert len(action.calls) == 2
    conversation.step(CallEnded("0", OK))
    conversation.step(CallEnded("1", OK))
    assert "at most 2 calls of one turn" in _answers(conversation)[999]["error"]


def test_long_output_keeps_head_and_tail_and_says_what_is_missing() -> None:
    """Within the limit but for the sentence itself."""
    conversation = _asking(observation_chars=10)
    conversation.step(_calls("a"))
    conversation.step(CallEnded("a", ToolResult(True, "begin" + "x" * 90 + "ended")))
    (answer,) = _answers(conversation)
    assert answer["output"] == "begin\n[... 90 of 100 characters left out ...]\nended"


def test_the_turns_time_is_the_servers_matter_while_it_is_asked() -> None:
    """A hung server must not look like a policy that failed."""
    finish = _asking().step(TurnTimeUp(5.0))
    error = "the model did not answer within a turn's 5 s"
    assert finish == Finish(Ending.MODEL_FAILED, Provenance.MODEL_ERROR, error)


def test_the_turns_time_ends_the_calls_and_the_model_goes_on() -> None:
    """What had ended is kept; what had not is counted and told."""
    conversation = _asking()
    conversation.step(_calls("a", "b"))
    assert conversation.step(CallEnded("a", OK)) == Wait()
    assert isinstance(conversation.step(TurnTimeUp(5.0)), AskModel)
    assert [answer.get("output") for answer in _answers(conversation)] == ["out", None]
    assert [error.error for error in conversation.tool_errors] == [
        "This call was ended: the turn's time of 5 s was over"
    ]


@pytest.mark.parametrize("while_calling", [True, False])
def test_the_trajectorys_time_ends_everything_and_answers_what_is_open(while_calling: bool) -> None:
    """It is a limit of the policy's, in whichever phase it comes."""
    conversation = _asking()
    if while_calling:
        conversation.step(_calls("a"))
    finish = conversation.step(TimeUp(5.0))
    error = "the trajectory's time of 5 s was over"
    assert finish == Finish(Ending.TIME_LIMIT, Provenance.LIMIT_EXCEEDED, error)
    assert conversation.turns_used == 1
    assert len(_answers(conversation)) == while_calling


@pytest.mark.parametrize("late", [TimeUp(1.0), TurnTimeUp(1.0)])
def test_time_that_is_up_after_the_end_changes_nothing(late: TimeUp | TurnTimeUp) -> None:
    """The last answer and the clock may come at the same moment."""
    conversation = _asking()
    finish = conversation.step(ModelAnswered(Answer(content="done")))
    assert conversation.step(late) is finish


def test_the_same_failure_twice_is_told_and_counted() -> None:
    """With what it was the first time beside it, so that the model can see that nothing changed."""
    conversation = _asking()
    for call_id in "ab":
        conversation.step(_calls(call_id))
        conversation.step(CallEnded(call_id, FAILED))
    first, second = _answers(conversation)
    assert "note" not in first
    assert second["note"].startswith("This call has now failed 2 times in the same way")
    assert second["output"] == "no"
    assert conversation.repeated_failures == 1


def test_a_failure_that_reads_differently_is_no_repetition() -> None:
    """A test run after an edit is work."""
    conversation = _asking()
    for call_id in "ab":
        conversation.step(_calls(call_id))
        conversation.step(CallEnded(call_id, ToolResult(False, call_id, "Exit code: 1")))
    assert conversation.repeated_failures == 0


def test_refused_calls_repeat_themselves_too() -> None:
    """The same broken JSON again."""
    conversation = _asking()
    for call_id in "ab":
        conversation.step(_calls(call_id, arguments="{"))
    assert "failed 2 times" in _answers(conversation)[1]["error"]


def test_identical_failures_end_the_loop_where_there_is_a_limit() -> None:
    """It is the policy that is stuck."""
    conversation = _asking(identical_failures=2)
    conversation.step(_calls("a"))
    conversation.step(CallEnded("a", FAILED))
    conversation.step(_calls("b"))
    finish = conversation.step(CallEnded("b", FAILED))
    assert isinstance(finish, Finish)
    assert (finish.ending, finish.provenance) == (Ending.REPEATED_FAILURE, Provenance.LIMIT_EXCEEDED)


def test_a_call_that_could_not_be_read_is_told_counted_and_does_not_end_the_loop() -> None:
    """There is no call that a tool message could answer, so a user message does."""
    conversation = _asking()
    action = conversation.step(ModelAnswered(Answer(content="<tool_call>{", problems=("it never ends",))))
    assert isinstance(action, AskModel)
    assert conversation.messages[-1] == {
        "role": "user",
        "content": "Nothing was run of what could not be read: it never ends. Write the whole call again.",
    }
    (error,) = conversation.tool_errors
    assert (error.tool_name, error.arguments) == ("", "<tool_call>{")


def test_unread_calls_beside_good_ones_are_told_behind_the_answers() -> None:
    """Answers stand right behind their turn."""
    conversation = _asking()
    conversation.step(_calls("a", problems=("x", "y")))
    conversation.step(CallEnded("a", OK))
    assert [message["role"] for message in conversation.messages] == ["user", "assistant", "tool", "user"]
    assert "could not be read: x; y." in conversation.messages[-1]["content"]


def test_whoever_watches_may_stop_and_may_add_messages_before_the_model_is_asked() -> None:
    """Not in between, and nothing that looks like the model's."""
    conversation = _asking()
    conversation.add_messages([{"role": "user", "content": "hurry"}])
    assert conversation.messages[-1]["content"] == "hurry"
    with pytest.raises(InvalidInputError, match="not 'assistant'"):
        conversation.add_messages([{"role": "assistant", "content": "x"}])
    conversation.step(_calls("a"))
    with pytest.raises(LocalProtocolError, match="messages while calling"):
        conversation.add_messages([])
    conversation.step(CallEnded("a", OK))
    assert conversation.step(Stopped()) == Finish(Ending.STOPPED)
    assert conversation.turns_used == 1


def test_tokens_are_kept_as_they_were_sampled_and_counted_where_nobody_counts() -> None:
    """A server that tells ids and no usage keeps to the budget all the same."""
    conversation = _asking(generated_tokens=10)
    tokens = CallTokens(prompt_ids=(1, 2), completion_ids=(3, 4, 5))
    call = CallRequest(name="bash", arguments='{"command": "ls"}', call_id="a")
    conversation.step(ModelAnswered(Answer(calls=(call,), tokens=tokens)))
    assert conversation.step(CallEnded("a", OK)) == AskModel(7)
    assert list(conversation.token_trace.calls()) == [tokens]
    assert not conversation.token_trace.text_only
