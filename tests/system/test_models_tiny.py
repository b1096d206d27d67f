"""Training rows from a real model: what was recorded is what the model says of the very same tokens.

The model's text does not lead back to its tokens, so ids made from text anywhere on the way would be seen.
Needs the extra ``train``; skipped without it.
"""

from __future__ import annotations

import pytest
import trio
from attrs import evolve

pytest.importorskip("torch", reason="needs the extra `train`")
pytest.importorskip("transformers", reason="needs the extra `train`")

from hermes_trio.agents.loop import AgentLoop
from hermes_trio.agents.result import AgentResult
from hermes_trio.models.chat import ChatClient
from hermes_trio.models.errors import ModelStatusError
from hermes_trio.models.tokens import ASK_FOR_TOKEN_IDS, CallTokens, TokenTrace, TrainingRow, training_rows
from hermes_trio.testing.doubles import FunctionExecutor
from hermes_trio.testing.model_conformance import MODEL_CHECKS, ModelCheck
from hermes_trio.testing.tiny_model.llama import TinyLlama
from hermes_trio.testing.tiny_model.server import open_tiny_model
from hermes_trio.testing.tiny_model.template import text_from

TRAJECTORIES = 200
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def model() -> TinyLlama:
    """One for all tests: its weights are random, but always the same."""
    return TinyLlama(seed=2026)


@pytest.mark.parametrize("check", MODEL_CHECKS, ids=lambda check: check.__name__)
async def test_the_tiny_model_conforms(model: TinyLlama, check: ModelCheck) -> None:
    """The suite that the scripted model is held to, on a server that samples for real."""
    with trio.fail_after(60):
        async with open_tiny_model(model) as url:
            await check(url)


async def _rolled_out(url: str, trajectories: int, *, ask: bool = True) -> list[AgentResult]:
    """Trajectories of up to five turns, eight at a time, whose calls answer with noise as well."""
    results: list[AgentResult] = []
    async with ChatClient(url) as client:
        loop = AgentLoop(
            client,
            None,
            FunctionExecutor(),
            max_turns=5,
            max_tokens=8,
            extra_body=ASK_FOR_TOKEN_IDS if ask else None,
        )
        limiter = trio.CapacityLimiter(8)

        async def run(name: str) -> None:
            async with limiter:
                results.append(await loop.run([{"role": "user", "content": name}], trajectory_id=name))

        async with trio.open_nursery() as nursery:
            for number in range(trajectories):
                nursery.start_soon(run, f"task {number}")
    return results


def _rows(result: AgentResult) -> tuple[TokenTrace, list[CallTokens], tuple[TrainingRow, ...]]:
    assert result.token_trace is not None
    return result.token_trace, list(result.token_trace.calls()), training_rows(result.token_trace)


def _worst(model: TinyLlama, row: TrainingRow) -> float:
    """How far recorded logprobs are from what the model says of the row now."""
    assert row.logprobs is not None
    recomputed = model.logprobs(row.token_ids)
    return max(abs(a - b) for a, b, bit in zip(recomputed, row.logprobs, row.mask, strict=True) if bit)


def _under_mask(rows: tuple[TrainingRow, ...]) -> list[int]:
    return [token for row in rows for token, bit in zip(row.token_ids, row.mask, strict=True) if bit]


def _sampled(calls: list[CallTokens]) -> list[int]:
    return [token for call in calls for token in call.completion_ids or ()]


def test_the_model_is_tiny_and_its_text_does_not_lead_back(model: TinyLlama) -> None:
    """About 100,000 parameters, and noise that UTF-8 cannot hold."""
    assert 80_000 < model.parameters < 150_000
    sampled = model.sample([1, 2, 3], max_tokens=50, temperature=1.0, seed=0)
    assert list(text_from(sampled.ids).encode()) != list(sampled.ids)
    again = model.sample([1, 2, 3], max_tokens=50, temperature=1.0, seed=0)
    greedy = [model.sample([1], max_tokens=9, temperature=0.0, seed=seed) for seed in (0, 1)]
    assert again == sampled
    assert greedy[0] == greedy[1]


@pytest.mark.slow
async def test_recomputed_logprobs_are_the_recorded_ones_over_200_trajectories(model: TinyLlama) -> None:
    """And masks cover exactly what was sampled; every trajectory has a tool call and several turns."""
    async with open_tiny_model(model, weight_version="7") as url:
        results = await _rolled_out(url, TRAJECTORIES)
    worst, sampled = 0.0, 0
    for result in results:
        assert result.turns_used >= 2
        assert any(message.get("tool_calls") for message in result.messages)
        trace, calls, rows = _rows(result)
        assert (len(rows), trace.drifts, len(calls)) == (1, [], result.turns_used)
        assert {call.weight_version for call in calls} == {"7"}
        assert _under_mask(rows) == _sampled(calls)
        sampled += len(_sampled(calls))
        worst = max(worst, *(_worst(model, row) for row in rows))
    assert len(results) == TRAJECTORIES
    assert sum(result.usage.completion_tokens for result in results) == sampled > 0
    assert worst < TOLERANCE


async def test_a_server_that_renders_text_drifts_and_the_rows_are_still_true(model: TinyLlama) -> None:
    """One branch for each turn: what was sampled is trained on as it was, behind what was read."""
    async with open_tiny_model(model, remembers=False) as url:
        results = await _rolled_out(url, 10)
    drifts = 0
    for result in results:
        trace, calls, rows = _rows(result)
        assert len(rows) == len(trace.drifts) + 1
        assert _under_mask(rows) == _sampled(calls)
        assert max(_worst(model, row) for row in rows) < TOLERANCE
        drifts += len(trace.drifts)
    assert drifts > 10


async def test_ids_made_from_text_would_be_seen(model: TinyLlama) -> None:
    """The check itself: the same rows with their text's tokens are far from what was recorded."""
    async with open_tiny_model(model) as url:
        (result,) = await _rolled_out(url, 1)
    _, calls, (row,) = _rows(result)
    start, end = row.spans[0]
    made_up = list(text_from(calls[0].completion_ids or ()).encode())[: end - start]
    spoiled = (*row.token_ids[:start], *made_up, *row.token_ids[start + len(made_up) :])
    assert spoiled != row.token_ids
    assert _worst(model, evolve(row, token_ids=spoiled)) > 100 * TOLERANCE


async def test_a_request_that_makes_no_sense_is_refused(model: TinyLlama) -> None:
    """As a real server does."""
    async with open_tiny_model(model) as url, ChatClient(url) as client:
        for body in ({"max_tokens": "x"}, {"tools": "x"}):
            with pytest.raises(ModelStatusError, match="400"):
                await client.complete([{"role": "user", "content": "x"}], extra_body=body)
