"""The tokens of one model call. PURE."""

from __future__ import annotations

from attrs import frozen

TokenIds = tuple[int, ...]


@frozen(kw_only=True)
class CallTokens:
    """What one call read and sampled, as ids.

    Nothing here was ever made by tokenizing text: what a server did not tell is ``None``, and ``problem``
    says so.

    Args:
        prompt_ids: everything the model read, the whole conversation; ``None``: not told.
        completion_ids: what was sampled, in order; ``None``: not told.
        logprobs: one for each completion id; ``None``: not told, or not one for each.
        finish_reason: as the server told it.
        weight_version: of the weights that sampled, where the server tells it.
        problem: why ids are missing; empty exactly when both are here.
    """

    prompt_ids: TokenIds | None = None
    completion_ids: TokenIds | None = None
    logprobs: tuple[float, ...] | None = None
    finish_reason: str | None = None
    weight_version: str | None = None
    problem: str = ""
