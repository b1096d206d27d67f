"""The ``todo`` tool: a plan that an agent keeps for itself, one store per agent loop. PURE.

It never reaches a sandbox: the loop answers it, and the store dies with the loop.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from hermes_trio.tools.schema import ToolSchema

STATES = ("pending", "in_progress", "completed", "cancelled")
"""What an item may be; anything else counts as ``pending``."""

TODO = ToolSchema(
    "todo",
    "Keep a list of what is to be done. Without 'todos' it shows the list; with them it replaces the list, "
    "or with 'merge' updates items by id and adds new ones.",
    parameters={
        "todos": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "id": {"type": "string"},
                    "content": {"type": "string"},
                    "status": {"type": "string", "enum": list(STATES)},
                },
            },
            "description": "Items, each with id, content and status.",
        },
        "merge": {"type": "boolean", "description": "Update by id instead of replacing. Default false."},
    },
)

MAX_ITEMS = 256
"""Items beyond it are dropped and the answer says so: a model in a loop must not grow the transcript."""


class TodoStore:
    """The list of one agent loop, in order, at most :data:`MAX_ITEMS` long."""

    def __init__(self) -> None:
        self._items: dict[str, dict[str, str]] = {}

    def apply(self, arguments: Mapping[str, Any]) -> str:
        """Run one call with checked arguments; the answer is JSON with the list and a count by state."""
        todos = arguments.get("todos")
        dropped = 0 if todos is None else self._write(todos, merge=bool(arguments.get("merge", False)))
        return json.dumps(self._answer(dropped), ensure_ascii=False)

    def _write(self, todos: Sequence[Mapping[str, Any]], *, merge: bool) -> int:
        if not merge:
            self._items.clear()
        dropped = 0
        for todo in todos:
            item_id = str(todo.get("id") or self._free_id())
            if item_id not in self._items and len(self._items) >= MAX_ITEMS:
                dropped += 1
            else:
                self._items[item_id] = _merged(self._items.get(item_id), item_id, todo)
        return dropped

    def _free_id(self) -> str:
        number = len(self._items) + 1
        while str(number) in self._items:
            number += 1
        return str(number)

    def _answer(self, dropped: int) -> dict[str, Any]:
        items = list(self._items.values())
        summary = {state: sum(item["status"] == state for item in items) for state in STATES}
        answer: dict[str, Any] = {"todos": items, "summary": {"total": len(items), **summary}}
        if dropped:
            answer["note"] = f"{dropped} items were dropped; the list holds at most {MAX_ITEMS}."
        return answer


def _merged(old: Mapping[str, str] | None, item_id: str, todo: Mapping[str, Any]) -> dict[str, str]:
    before = old or {"content": "", "status": "pending"}
    status = str(todo.get("status") or before["status"])
    return {
        "id": item_id,
        "content": str(todo.get("content") or before["content"]),
        "status": status if status in STATES else "pending",
    }
