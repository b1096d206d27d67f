"""Whatever models and sandboxes do, the transcript keeps its rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hermes_trio.agents.answer import Answer, CallRequest
from hermes_trio.agents.result import Ending
from hermes_trio.agents.step import (
    Action,
    AskModel,
    CallEnded,
    Conversation,
    Finish,
    ModelAnswered,
    ModelFailed,
    RunCalls,
    Started,
    Wait,
)
from hermes_trio.errors import Provenance
from hermes_trio.tools.calls import ToolResult
from hermes_trio.tools.registry import default_registry

CALLS = st.builds(
    CallRequest,
    name=st.sampled_from(["bash", "terminal", "todo", "memory", "nope", ""]),
    arguments=st.sampled_from(['{"command": "ls"}', "{}", "{", "", '{"todos": []}', "[]"]) | st.text(),
    call_id=st.sampled_from(["", "a", "b", "call_1_0", "call_2_0"]),
)
ANSWERS = st.builds(Answer, content=st.text(max_size=5), calls=st.lists(CALLS, max_size=4).map(tuple))
TURNS = st.lists(st.none() | ANSWERS, max_size=6)
RESULTS = st.builds(
    ToolResult,
    st.booleans(),
    st.text(max_size=5),
    st.text(max_size=5),
    provenance=st.sampled_from([Provenance.OK] * 6 + list(Provenance)),
)


def _is_complete(messages: Sequence[dict[str, Any]]) -> bool:
    """Every call has one answer, behind its turn, in the order of the calls, and ids are unique."""
    expected: list[str] = []
    seen: set[str] = set()
    for message in messages:
        if message["role"] == "tool":
            if not expected or expected.pop(0) != message["tool_call_id"]:
                return False
            continue
        ids = [call["id"] for call in message.get("tool_calls", ())]
        if expected or seen.intersection(ids) or len(set(ids)) != len(ids):
            return False
        seen.update(ids)
        expected = ids
    return not expected


def _drive(conversation: Conversation, turns: list[Answer | None], data: st.DataObject) -> Action:
    """Play the world until the conversation is over or the world has no more to say."""
    action: Action = conversation.step(Started())
    running: list[str] = []
    while not isinstance(action, Finish):
        match action:
            case AskModel():
                if not turns:
                    return action
                answer = turns.pop(0)
                action = conversation.step(ModelFailed("x") if answer is None else ModelAnswered(answer))
            case RunCalls(calls):
                running = [call.uniq_id for call in calls]
                action = Wait()
            case Wait():
                ended = running.pop(data.draw(st.integers(0, len(running) - 1)))
                action = conversation.step(CallEnded(ended, data.draw(RESULTS)))
    return action


@given(TURNS, st.integers(0, 5), st.data())
def test_every_world_leaves_a_complete_transcript(
    turns: list[Answer | None], max_turns: int, data: st.DataObject
) -> None:
    """Calls end in any order, models fail, sandboxes are lost; nothing is answered twice or never."""
    conversation = Conversation([{"role": "user", "content": "go"}], default_registry(), max_turns=max_turns)
    action = _drive(conversation, turns, data)
    assert _is_complete(conversation.messages)
    assert conversation.turns_used <= max_turns
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
    assert _is_complete(conversation.messages)
