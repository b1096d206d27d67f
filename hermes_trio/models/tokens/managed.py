"""Atropos's ``ManagedServer``: the nodes of ``get_state()`` as calls. PURE.

A node is one sequence with what was sampled last in it: ``tokens`` has all ids, ``masked_tokens`` the same
with -100 where nothing was sampled, ``logprobs`` 1.0 there. Older turns of a sequence that was grown are
masked there too: what is not told to be sampled is not trained on.

Source: atropos, ``envs/server_handling/managed_server.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hermes_trio.models.members import member
from hermes_trio.models.tokens.calls import CallTokens
from hermes_trio.models.tokens.dialects import UntoldTokens, checked_ids, checked_logprobs

_MASKED = -100


def calls_of_state(state: Any) -> tuple[CallTokens, ...]:
    """One call for each stretch of sampled tokens in each node, in order. Never raises on what is in it.

    Args:
        state: with ``nodes``, or with ``sequences`` by text, as its tree mode has them.
    """
    return tuple(call for node in _nodes(state) for call in _calls_of_node(node))


def _nodes(state: Any) -> Sequence[Any]:
    nodes, sequences = member(state, "nodes"), member(state, "sequences")
    if isinstance(nodes, list | tuple):
        return nodes
    return tuple(sequences.values()) if isinstance(sequences, Mapping) else ()


def _calls_of_node(node: Any) -> Iterator[CallTokens]:
    finish_reason = member(member(node, "metadata"), "finish_reason")
    finish_reason = finish_reason if isinstance(finish_reason, str) else None
    try:
        tokens, sampled = _tokens_and_sampled(node)
    except UntoldTokens as untold:
        yield CallTokens(finish_reason=finish_reason, problem=str(untold))
        return
    logprobs = member(node, "logprobs")
    fits = isinstance(logprobs, list | tuple) and len(logprobs) == len(tokens)
    for start, end in _stretches(sampled):
        yield CallTokens(
            prompt_ids=tokens[:start],
            completion_ids=tokens[start:end],
            logprobs=checked_logprobs(logprobs[start:end], end - start) if fits else None,
            finish_reason=finish_reason if end == len(tokens) else None,
        )


def _tokens_and_sampled(node: Any) -> tuple[tuple[int, ...], list[bool]]:
    if member(member(node, "metadata"), "dummy_tokens"):
        raise UntoldTokens("the node's tokens are placeholders")
    tokens, masked = checked_ids("tokens", member(node, "tokens")), member(node, "masked_tokens")
    if not isinstance(masked, list | tuple) or len(masked) != len(tokens):
        raise UntoldTokens("masked_tokens does not go with tokens")
    sampled = [told != _MASKED for told in masked]
    if any(
        is_sampled and told != token for is_sampled, told, token in zip(sampled, masked, tokens, strict=True)
    ):
        raise UntoldTokens("masked_tokens has other ids than tokens")
    return tokens, sampled


def _stretches(sampled: Sequence[bool]) -> Iterator[tuple[int, int]]:
    """Where each run of sampled positions begins and ends."""
    borders = [
        index
        for index, (before, after) in enumerate(zip([False, *sampled], [*sampled, False], strict=True))
        if before != after
    ]
    return zip(borders[::2], borders[1::2], strict=True)
