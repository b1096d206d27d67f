"""Whatever models and sandboxes do, the transcript keeps its rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from hermes_trio.agents.answer import Answer, CallRequest
from hermes_trio.agents.events import (
    Action,
    AskModel,
    CallEnded,
    Finish,
    ModelAnswered,
    ModelFailed,
    RunCalls,
    Started,
    TimeUp,
    TurnTimeUp,
    Wait,
)
from hermes_trio.agents.limits import LoopLimits
from hermes_trio.agents.result import Ending
from hermes_trio.agents.step import Conversation
from hermes_trio.errors import Provenance
from hermes_trio.models.completion import Usage
from hermes_trio.testing.doubles import is_whole
from hermes_trio.tools.calls import ToolResult
from hermes_trio.tools.registry import default_registry

CALLS = st.builds(
    CallRequest,
    name=st.sampled_from(["bash", "terminal", "todo", "memory", "nope", ""]),
    arguments=st.sampled_from(['{"command": "ls"}', "{}", "{", "", '{"todos": []}', "[]"]) | st.text(),
    call_id=st.sampled_from(["", "a", "b", "call_1_0", "call_2_0"]),
)
ANSWERS = st.builds(
    Answer,
    content=st.text(max_size=5),
    calls=st.lists(CALLS, max_size=4).map(tuple),
    finish_reason=st.sampled_from([None, "stop", "length"]),
    problems=st.lists(st.text(max_size=3), max_size=1).map(tuple),
)
TURNS = st.lists(st.none() | ANSWERS, max_size=6)
RESULTS = st.builds(
    ToolResult,
    st.booleans(),
    st.text(max_size=5),
    st.text(max_size=5),
    provenance=st.sampled_from([Provenance.OK] * 6 + list(Provenance)),
)


def _ids_are_unique(messages: Sequence[dict[str, Any]]) -> bool:
    ids = [call["id"] for message in messages for call in message.get("tool_calls", ())]
    return len(set(ids)) == len(ids)


LIMITS = st.builds(
    LoopLimits,
    generated_tokens=st.none() | st.integers(1, 20),
    tool_calls=st.none() | st.integers(1, 5),
    calls_per_turn=st.integers(1, 4),
    observation_chars=st.integers(1, 10),
    identical_failures=st.none() | st.integers(1, 3),
)
USAGE = st.none() | st.builds(Usage, completion_tokens=st.integers(0, 8))


def _drive(conversation: Conversation, turns: list[Answer | None], data: st.DataObject) -> Action:
    """Play the world until the conversation is over or the world has no more to say."""
    action: Action = conversation.step(Started())
    running: list[str] = []
    while not isinstance(action, Finish):
        late = data.draw(st.sampled_from([None] * 9 + [TimeUp(1.0), TurnTimeUp(1.0)]))
        if late is not None:
            action = conversation.step(late)
            continue
        match action:
            case AskModel(max_tokens):
                if not turns:
                    return action
                answer = turns.pop(0)
                if answer is None:
                    action = conversation.step(ModelFailed("x"))
                    continue
                usage = data.draw(USAGE)
                if usage and max_tokens is not None:
                    usage = Usage(completion_tokens=min(usage.completion_tokens, max_tokens))
                action = conversation.step(ModelAnswered(evolve(answer, usage=usage)))
            case RunCalls(calls):
                running = [call.uniq_id for call in calls]
                action = Wait()
            case Wait():
                ended = running.pop(data.draw(st.integers(0, len(running) - 1)))
                action = conversation.step(CallEnded(ended, data.draw(RESULTS)))
    return action


@given(TURNS, st.integers(0, 5), LIMITS, st.data())
def test_every_world_leaves_a_complete_transcript(
    turns: list[Answer | None], max_turns: int, limits: LoopLimits, data: st.DataObject
) -> None:
    """Calls end in any order, time runs out, sandboxes are lost; nothing is answered twice or never."""
    start = [{"role": "user", "content": "go"}]
    conversation = Conversation(start, default_registry(), max_turns=max_turns, limits=limits)
    action = _drive(conversation, turns, data)
    assert is_whole(conversation.messages)
    assert _ids_are_unique(conversation.messages)
    assert conversation.turns_used <= max_turns
    assert limits.generated_tokens is None or conversation.usage.completion_tokens <= limits.generated_tokens
    if isinstance(action, Finish):
        infrastructure = action.ending in (Ending.INFRASTRUCTURE, Ending.MODEL_FAILED)
        assert action.provenance.is_infrastructure is infrastructure


@given(ANSWERS, st.data())
def test_abandoning_at_any_moment_completes_the_transcript(answer: Answer, data: st.DataObject) -> None:
    """Also with some calls of the turn ended, in any order."""
    conversation = Conversation([], default_registry(), max_turns=2)
    conversation.step(Started())
    action = conversation.step(ModelAnswered(answer))
    running = [call.uniq_id for call in action.calls] if isinstance(action, RunCalls) else []
    for call_id in data.draw(st.permutations(running))[: data.draw(st.integers(0, 4))]:
        conversation.step(CallEnded(call_id, ToolResult(True)))
    conversation.abandon()
    assert is_whole(conversation.messages)
