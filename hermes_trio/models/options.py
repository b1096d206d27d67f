"""What can be asked of a completion. PURE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict


class ChatOptions(TypedDict, total=False):
    """Keyword arguments of :meth:`ChatClient.complete` and :meth:`ChatClient.stream`.

    What is left out or ``None`` is left to the server, but for the temperature.
    """

    tools: Sequence[Mapping[str, Any]] | None
    """OpenAI function schemas; none or an empty list: not sent."""
    tool_choice: str | Mapping[str, Any] | None
    """``auto``, ``none``, ``required`` or a function."""
    temperature: float | None
    """1.0 when left out: what was sampled with another one is another policy. ``None``: the server's."""
    max_tokens: int | None
    """Most tokens to generate."""
    stop: str | Sequence[str] | None
    """Texts at which generation ends."""
    seed: int | None
    """For sampling, where the server knows how."""
    extra_body: Mapping[str, Any] | None
    """Further members of the request's body, at its top level; they win over the others."""
