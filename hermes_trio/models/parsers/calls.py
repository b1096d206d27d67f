"""What several dialects have in common: calls as JSON objects, and calls without a marker. PURE."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from hermes_trio.models.parsers.base import CallReader, Draft
from hermes_trio.models.parsers.cursor import Cursor, Malformed, Reading
from hermes_trio.models.parsers.json_text import loads, read_json_object

_BEGINNING_CHARS = 200
_BESIDE_ARGUMENTS = frozenset({"name", "id", "type"})


def draft_of(cursor: Cursor, body: Mapping[str, Any]) -> Draft:
    """The call in an object with ``name`` and ``arguments`` (or ``parameters``, as Llama has it).

    Neither means a call without arguments, unless there is something else that may be meant as such: a call
    with none is then not what the model asked for.

    Raises:
        Malformed: it is none.
    """
    name = body.get("name")
    if not isinstance(name, str) or not name:
        raise Malformed("a call needs a 'name', a text that is not empty", position=cursor.position)
    for word in ("arguments", "parameters"):
        if word in body:
            return Draft(name, _arguments(cursor, word, body[word]), _call_id(body))
    if body.keys() - _BESIDE_ARGUMENTS:
        raise Malformed("a call needs 'arguments' beside its 'name'", position=cursor.position)
    return Draft(name, {}, _call_id(body))


def _call_id(body: Mapping[str, Any]) -> str:
    given = body.get("id")
    return given if isinstance(given, str) else ""


def _arguments(cursor: Cursor, word: str, value: Any) -> Mapping[str, Any]:
    """Arguments as an object, or as JSON in a string, as OpenAI's API has them; null for none."""
    if isinstance(value, str):
        try:
            value = loads(value)
        except Malformed as error:
            reason = f"'{word}' is a text that is not JSON: {error.reason}"
            raise Malformed(reason, position=cursor.position) from error
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Malformed(f"'{word}' is not an object", position=cursor.position)
    return value


def read_draft(cursor: Cursor) -> Reading[Draft]:
    """Read an object that is a call.

    Raises:
        Malformed: there is none.
    """
    body = yield from read_json_object(cursor)
    return draft_of(cursor, body)


def read_drafts(cursor: Cursor, read_one: Callable[[Cursor], Reading[Draft]] = read_draft) -> CallReader:
    """Read a list of calls; each counts when it is complete, whatever comes of those behind it.

    Raises:
        Malformed: there is none, or it breaks off further on.
    """
    yield from cursor.expect("[")
    yield from cursor.skip_space()
    while True:
        draft = yield from read_one(cursor)
        comma = yield from cursor.expect_or_end(",", "]")
        yield draft
        yield from cursor.skip_space()
        if comma != "," or (yield from cursor.accept("]")):
            return


def unmarked(cursor: Cursor, calls: CallReader, looks_like_a_call: re.Pattern[str]) -> CallReader:
    """Read calls that no marker announces.

    Raises:
        Malformed: with a reason only if the text began so that nothing but a call can have been meant: an
            answer in JSON, a citation in brackets, are no mistakes that the model should hear of.
    """
    found = False
    try:
        for draft in calls:
            found = found or draft is not None
            yield draft
    except Malformed as error:
        if found or looks_like_a_call.match(cursor.since_mark(_BEGINNING_CHARS)):
            raise
        raise Malformed("", position=error.position) from error
