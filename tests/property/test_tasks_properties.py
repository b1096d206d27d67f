"""The task file: any bytes are tasks or one sentence, and what was written is read back."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from hermes_trio.errors import InvalidInputError
from hermes_trio.rollouts.tasks import parse_tasks

_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
_names = st.sampled_from(
    ["id", "prompt", "verifier", "reference", "files", "setup", "limits", "tags", "other", "turns", "call_s"]
)
_near_tasks = st.dictionaries(_names, _values | st.dictionaries(_names, _values, max_size=3), max_size=9)
_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(
    st.binary(max_size=200) | st.lists(_near_tasks, max_size=3).map(lambda t: "\n".join(map(json.dumps, t)))
)
def test_any_bytes_are_tasks_or_one_line_that_says_what_is_wrong(data):
    """Nothing else leaves the parser."""
    problem = ""
    try:
        found = parse_tasks(data if isinstance(data, bytes) else data.encode(), source="t.jsonl")
    except InvalidInputError as error:
        problem, found = str(error), ()
    assert bool(found) != problem.startswith("t.jsonl")
    assert "\n" not in problem


@given(
    st.lists(
        st.fixed_dictionaries(
            {"id": st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)},
            optional={"tags": st.lists(_text, max_size=2), "reference": st.lists(_text, max_size=2)},
        ),
        min_size=1,
        max_size=4,
        unique_by=lambda task: task["id"],
    ),
    _text,
)
def test_what_was_written_is_read_back(documents, text):
    """Any text, line separators of Unicode included, in order."""
    whole = [document | {"prompt": f"p{text}", "verifier": f"v{text}"} for document in documents]
    data = "\n".join(json.dumps(document, ensure_ascii=False) for document in whole).encode()
    found = parse_tasks(data, source="t.jsonl")
    assert [(task.id, task.prompt, list(task.tags), list(task.reference)) for task in found] == [
        (d["id"], d["prompt"], d.get("tags", []), d.get("reference", [])) for d in whole
    ]
