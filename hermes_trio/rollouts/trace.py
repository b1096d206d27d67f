"""What a trajectory leaves for a trainer: tokens as rows, and the conversations of sub-agents. PURE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import asdict, field, frozen

from hermes_trio.agents.result import Branch
from hermes_trio.models.tokens import Drift, TextOnlyError, TokenTrace, TrainingRow, training_rows


@frozen(kw_only=True)
class TokenRecord:
    """The tokens of one conversation, or why there are none.

    Args:
        rows: see :func:`hermes_trio.models.tokens.training_rows`; none where ``text_only`` is told.
        text_only: one sentence that says which call came without ids; empty: none did.
        drifts: where a prompt did not go on from what was sampled.
        weight_versions: of each call, where the server told it.
    """

    rows: Sequence[TrainingRow] = ()
    text_only: str = ""
    drifts: Sequence[Drift] = ()
    weight_versions: Sequence[str | None] = ()

    @classmethod
    def of(cls, trace: TokenTrace) -> TokenRecord:
        """The record of a trace."""
        rows, text_only = tuple[TrainingRow, ...](), ""
        try:
            rows = training_rows(trace)
        except TextOnlyError as error:
            text_only = str(error)
        return cls(
            rows=rows,
            text_only=text_only,
            drifts=tuple(trace.drifts),
            weight_versions=trace.weight_versions,
        )

    def to_mapping(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "text_only": self.text_only or None,
            "training_rows": [asdict(row) for row in self.rows],
            "drifts": [asdict(drift) for drift in self.drifts],
            "weight_versions": list(self.weight_versions),
        }


@frozen(kw_only=True)
class BranchRecord:
    """A sub-agent's conversation.

    Args:
        call_id: of the call in the parent's conversation that began it.
        tool: the sub-agent's name.
        turn: the parent's turn, from 1.
        ending: why its loop stopped; empty: it was cut off with its parent.
        provenance: who ended it; empty likewise.
        messages: as in a trajectory.
        tokens: of its own model calls.
        branches: of its own sub-agents.
    """

    call_id: str
    tool: str
    turn: int
    ending: str = ""
    provenance: str = ""
    messages: Sequence[Mapping[str, Any]] = ()
    tokens: TokenRecord = field(factory=TokenRecord)
    branches: Sequence[BranchRecord] = ()

    @classmethod
    def of(cls, branch: Branch) -> BranchRecord:
        """The record of a branch, and of those below it."""
        ended = branch.result
        return cls(
            call_id=branch.call_id,
            tool=branch.tool_name,
            turn=branch.turn,
            ending="" if ended is None else ended.ending.value,
            provenance="" if ended is None else ended.provenance.value,
            messages=branch.messages,
            tokens=TokenRecord() if ended is None else TokenRecord.of(ended.token_trace),
            branches=() if ended is None else tuple(map(cls.of, ended.branches)),
        )

    def to_mapping(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "call_id": self.call_id,
            "tool": self.tool,
            "turn": self.turn,
            "ending": self.ending,
            "provenance": self.provenance,
            **self.tokens.to_mapping(),
            "branches": [branch.to_mapping() for branch in self.branches],
            "messages": list(self.messages),
        }
