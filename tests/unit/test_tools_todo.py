"""The todo list of one agent loop."""

from __future__ import annotations

import json
from typing import Any

from hermes_trio.tools.todo import MAX_ITEMS, TodoStore


def _apply(store: TodoStore, **arguments: Any) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(store.apply(arguments))
    return answer


def test_an_empty_call_shows_an_empty_list() -> None:
    """Reading changes nothing."""
    assert _apply(TodoStore()) == {
        "todos": [],
        "summary": {"total": 0, "pending": 0, "in_progress": 0, "completed": 0, "cancelled": 0},
    }


def test_writing_replaces_the_list() -> None:
    """Without merge the old items are gone."""
    store = TodoStore()
    _apply(store, todos=[{"id": "a", "content": "A"}])
    answer = _apply(store, todos=[{"id": "b", "content": "B", "status": "completed"}])
    assert answer["todos"] == [{"id": "b", "content": "B", "status": "completed"}]
    assert answer["summary"]["completed"] == 1


def test_merging_updates_by_id_and_appends() -> None:
    """What an update does not mention stays."""
    store = TodoStore()
    _apply(store, todos=[{"id": "a", "content": "A"}, {"id": "3", "content": "B"}])
    _apply(store, merge=True, todos=[{"id": "3", "status": "in_progress"}, {"content": "C"}])
    assert _apply(store)["todos"] == [
        {"id": "a", "content": "A", "status": "pending"},
        {"id": "3", "content": "B", "status": "in_progress"},
        {"id": "4", "content": "C", "status": "pending"},
    ]


def test_an_unknown_status_counts_as_pending() -> None:
    """A model's own words for a state do not break the list."""
    assert _apply(TodoStore(), todos=[{"id": "a", "status": "soon"}])["todos"][0]["status"] == "pending"


def test_the_list_is_bounded_and_says_what_it_dropped() -> None:
    """A model in a loop cannot grow the transcript for ever."""
    answer = _apply(TodoStore(), todos=[{"content": str(i)} for i in range(MAX_ITEMS + 2)])
    assert answer["summary"]["total"] == MAX_ITEMS
    assert answer["note"].startswith("2 items were dropped")
