"""The protocol's page shows the tables as they are."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import get_args

import pytest

from hermes_trio.errors import Provenance
from hermes_trio.wire import diagrams, frames
from hermes_trio.wire.transitions import CallState, LinkState


def test_the_page_is_up_to_date() -> None:
    """`python -m hermes_trio.wire.diagrams` mends it."""
    page = diagrams.PAGE.read_text(encoding="utf-8")
    assert page == diagrams.rewrite(page)


def test_the_page_has_every_generated_section() -> None:
    """None was lost in editing."""
    page = diagrams.PAGE.read_text(encoding="utf-8")
    assert all(f"<!-- generated: {name} -->" in page for name in diagrams.SECTIONS)
    assert page.count("<!-- generated: ") == page.count("<!-- end -->") == len(diagrams.SECTIONS)


def test_the_page_names_every_word_of_provenance() -> None:
    """Written by hand, so checked."""
    page = diagrams.PAGE.read_text(encoding="utf-8")
    assert all(f"`{provenance.value}`" in page for provenance in Provenance)


def test_diagrams_show_every_state_and_move() -> None:
    """A state that the table has is in the picture."""
    assert all(state.value in diagrams.call_states() for state in CallState)
    assert all(state.value in diagrams.link_states() for state in LinkState)
    assert "    offered --> running : worker says accepted\n" in diagrams.call_states()
    assert "    failed --> up : new link\n" in diagrams.link_states()
    assert "    open --> down : link lost\n" in diagrams.link_states()
    assert "over --> down" not in diagrams.link_states()


def test_field_tables_show_type_default_and_meaning() -> None:
    """In words that a reader of JSON understands."""
    assert "| `limit_s` | seconds > 0 or null | null | Seconds the operation may run" in diagrams.fields_of(
        frames.Call
    )
    assert "| `echo` | boolean | false | Whether" in diagrams.fields_of(frames.Heartbeat)
    assert "| `max_calls` | integer ≥ 1 | 4,096 |" in diagrams.fields_of(frames.Limits)
    assert "| `isolation` | object, passed through | empty |" in diagrams.fields_of(frames.Welcome)
    assert all(diagrams.fields_of(kind) for kind in get_args(frames.Frame))


def test_what_is_written_by_hand_is_left_alone() -> None:
    """Only what stands between the marks is made anew."""
    page = "before\n<!-- generated: lease -->\nold\n<!-- end -->\nafter\n"
    new = diagrams.rewrite(page)
    assert new.startswith("before\n<!-- generated: lease -->\n\n| field |")
    assert new.endswith("|\n\n<!-- end -->\nafter\n")
    assert "old" not in new
    assert diagrams.rewrite(new) == new
    with pytest.raises(KeyError):
        diagrams.rewrite(page.replace("lease", "nonsense"))


def test_the_program_rewrites_the_page_it_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an argument it is the project's own."""
    page = tmp_path / "page.md"
    page.write_text("<!-- generated: lease -->\n<!-- end -->\n")
    monkeypatch.setattr(sys, "argv", ["diagrams", str(page)])
    runpy.run_path(diagrams.__file__, run_name="__main__")
    assert "| `slot` | text | required |" in page.read_text()
    monkeypatch.setattr(diagrams, "PAGE", page)
    page.write_text("<!-- generated: lease -->\n<!-- end -->\n")
    diagrams.main([])
    assert "| `slot` | text | required |" in page.read_text()
