"""File tools, from the call to the operation and from the report to what the model reads. All pure."""

from __future__ import annotations

from typing import Any

from hermes_trio.errors import Provenance
from hermes_trio.executor.config import ExecutorConfig
from hermes_trio.executor.plan import Plan, Refuse, RunInSlot, plan_call
from hermes_trio.executor.results import result_of
from hermes_trio.tools.calls import ToolCall, ToolResult
from hermes_trio.tools.registry import default_registry
from hermes_trio.wire.frames import CallId, Result
from hermes_trio.wire.listing import (
    EntryKind,
    ListedEntry,
    Match,
    pack_entry,
    pack_match,
    unpack_matches,
)
from hermes_trio.wire.operations import Operation


def plan(name: str, **arguments: Any) -> Plan:
    """Of a call of one of the default tools."""
    return plan_call(ToolCall(name, arguments), registry=default_registry(), config=ExecutorConfig())


def sent(name: str, **arguments: Any) -> tuple[dict[str, Any], bytes]:
    """What the daemon is asked."""
    made = plan(name, **arguments)
    assert isinstance(made, RunInSlot)
    return dict(made.arguments), made.payload


def refused(name: str, **arguments: Any) -> str:
    """Why nothing is asked."""
    made = plan(name, **arguments)
    assert isinstance(made, Refuse)
    return made.result.error


def told(
    name: str, operation: Operation, data: dict[str, Any], payload: bytes = b"", **arguments: Any
) -> ToolResult:
    """What becomes of a report."""
    made = plan(name, **arguments)
    assert isinstance(made, RunInSlot)
    assert made.operation is operation
    result = Result(
        call_id=CallId(1), provenance=Provenance.OK, data=data, segments=(len(payload),), payload=payload
    )
    return result_of(ToolCall(name, arguments), operation, result, arguments=made.arguments)


def test_a_file_is_read_whole_or_in_part() -> None:
    """What the model asks for, within the cap."""
    assert sent("read_file", path="f") == ({"path": "f"}, b"")
    assert sent("read_file", path="f", start_line=2, end_line=4, max_bytes=10**9)[0] == {
        "path": "f",
        "start_line": 2,
        "end_line": 4,
        "max_bytes": 100_000,
    }
    assert sent("read_file", path="f", max_bytes=-5)[0] == {"path": "f", "offset": 0, "max_bytes": 0}
    assert sent("read_file", path="f", offset=7)[0] == {"path": "f", "offset": 7}


def test_a_file_is_written_as_it_is_asked_for() -> None:
    """Defaults are not sent."""
    assert sent("write_file", path="f", content="ü") == ({"path": "f"}, "ü".encode())
    assert sent("write_file", path="f", content="/wA=", encoding="base64", mode="0755", append=True) == (
        {"path": "f", "mode": 0o755, "append": True},
        b"\xff\0",
    )
    assert sent("write_file", path="f", content="", parents=False)[0] == {"path": "f", "parents": False}
    assert "octal" in refused("write_file", path="f", content="", mode="rwx")
    assert "octal" in refused("write_file", path="f", content="", mode="4755")
    assert "not base64" in refused("write_file", path="f", content="ä", encoding="base64")
    assert "Content too large: 100001" in refused("write_file", path="f", content="x" * 100_001)


def test_an_edit_carries_both_texts() -> None:
    """As bytes: JSON would make them larger."""
    assert sent("edit_file", path="f", old_text="ü", new_text="new") == (
        {"path": "f", "old_bytes": 2},
        "ünew".encode(),
    )
    assert sent("edit_file", path="f", old_text="a", new_text="", replace_all=True)[0]["replace_all"] is True
    assert "too large" in refused("edit_file", path="f", old_text="x" * 50_001, new_text="y" * 50_000)
    assert refused("edit_file", path="f", old_text="x") == (
        "Invalid arguments for edit_file: 'new_text' is required"
    )


def test_listings_and_searches_are_bounded() -> None:
    """Whatever the model asks for."""
    assert sent("list_files")[0] == {"path": ".", "recursive": False, "after_hex": "", "max_entries": 200}
    asked = sent("list_files", path="d", recursive=True, after="d/ä", max_entries=10**9)[0]
    assert asked == {"path": "d", "recursive": True, "after_hex": "642fc3a4", "max_entries": 2000}
    assert sent("search_files", pattern="a+")[0] == {
        "pattern": "a+",
        "path": ".",
        "glob": "",
        "literal": False,
        "ignore_case": False,
    }
    assert sent("search_files", pattern="x", max_matches=0)[0]["max_matches"] == 1


def test_what_was_cut_says_how_to_go_on() -> None:
    """Whole files say nothing more than themselves."""
    read = Operation.READ_FILE
    assert told("read_file", read, {"file_bytes": 2}, b"a\xff", path="f").output == "a�"
    assert told("read_file", read, {"file_bytes": 2}, b"\xff", path="f", encoding="base64").output == "/w=="
    cut = told("read_file", read, {"file_bytes": 9, "truncated": True}, b"ab", path="f", offset=0)
    assert cut.output == "ab\n[... 2 bytes of 9; go on with a higher offset ...]"
    lines = {"file_bytes": 9, "truncated": True, "first_line": 1, "last_line": 2, "total_lines": None}
    cut = told("read_file", read, lines, b"a\nb", path="f", start_line=1)
    assert cut.output == "a\nb\n[... cut after 3 bytes, in line 2; go on from there ...]"


def test_a_file_that_is_too_large_says_how_to_read_it() -> None:
    """After the ancestor's sentence."""
    result = Result(
        call_id=CallId(1),
        provenance=Provenance.TOOL_ERROR,
        error="File too large: 9 bytes (max 8)",
        data={"reason": "too_large"},
    )
    made = result_of(ToolCall("read_file", {}), Operation.READ_FILE, result, arguments={})
    assert made.error == (
        "File too large: 9 bytes (max 8); ask for a part of it: start_line and end_line, or offset and"
        " max_bytes"
    )
    assert made.metadata == {"reason": "too_large"}
    assert result_of(ToolCall("x", {}), Operation.LIST, result, arguments={}).error == result.error


def test_changes_are_told_in_a_sentence() -> None:
    """With what a model wants to know next."""
    write, edit = Operation.WRITE_FILE, Operation.EDIT_FILE
    one = {"replacements": 1, "written_bytes": 5, "first_line": 3}
    texts = {"path": "f", "old_text": "a", "new_text": "b"}
    assert told("edit_file", edit, one, **texts).output == "Successfully edited f: line 3"
    assert told("edit_file", edit, {**one, "replacements": 2}, **texts).output == (
        "Successfully edited f: 2 places, the first in line 3"
    )
    wrote = told("write_file", write, {"written_bytes": 9}, path="f", content="ab", append=True)
    assert wrote.output == "Successfully appended to f, which has 9 bytes now"


def test_a_listing_has_one_line_for_each_entry() -> None:
    """Whatever the names are."""
    kinds = (
        (b"d", EntryKind.DIRECTORY),
        (b"f", EntryKind.FILE),
        (b"l", EntryKind.LINK),
        (b"o", EntryKind.OTHER),
    )
    names = ((b"new\nline", EntryKind.LINK), (b"\xff", EntryKind.LINK))
    page = b"".join(
        pack_entry(ListedEntry(path=path, kind=kind, mode=0, size=7, mtime_ns=0))
        for path, kind in kinds + names
    )
    listed = told("list_files", Operation.LIST, {"entries": 6, "truncated": True}, page)
    assert listed.output.splitlines() == [
        "d/",
        "f (7 bytes)",
        "l (link)",
        "o (not a file)",
        "new\\nline (link)",
        "\\xff (link)",
        "[... there is more; go on with after='\\\\xff' ...]",
    ]
    assert told("list_files", Operation.LIST, {"entries": 0, "truncated": False}).output == ". is empty"
    empty = told("list_files", Operation.LIST, {"entries": 0, "truncated": True})
    assert empty.output == "[... there is more; go on with after='' ...]"


def test_matches_are_told_by_file_and_line() -> None:
    """As grep tells them."""
    match = Match(path=b"a.py", line=3, text=b"x = 1")
    data = {"matches": 1, "truncated": True, "engine": "python"}
    found = told("search_files", Operation.SEARCH, data, pack_match(match), pattern="x")
    assert found.output == "a.py:3: x = 1\n[... there are more matches; narrow the search ...]"
    nothing = told("search_files", Operation.SEARCH, {**data, "truncated": False}, pattern="x")
    assert nothing.output == "No matches"
    cut = told("search_files", Operation.SEARCH, data, pack_match(match)[:-1], pattern="x")
    assert cut.provenance is Provenance.INTERNAL_ERROR
    assert unpack_matches(pack_match(match) * 2) == (match, match)
    assert told("search_files", Operation.SEARCH, data, b"x", pattern="x").success is False
