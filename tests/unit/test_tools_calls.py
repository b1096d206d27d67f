"""Calls and results as data."""

from __future__ import annotations

from hermes_trio.errors import Provenance
from hermes_trio.tools.calls import ToolCall, ToolResult


def test_a_call_makes_up_an_id_of_its_own() -> None:
    """Two calls alike are two calls."""
    first, second = ToolCall("bash", {}), ToolCall(name="bash", arguments={})
    assert first.uniq_id.startswith("call_")
    assert first.uniq_id != second.uniq_id


def test_a_result_is_fine_unless_it_says_otherwise() -> None:
    """The defaults belong to a success."""
    result = ToolResult(True)
    assert (result.output, result.error, result.metadata, result.uniq_id) == ("", "", {}, None)
    assert result.provenance is Provenance.OK
