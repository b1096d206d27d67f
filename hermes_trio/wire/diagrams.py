"""Writes the generated sections of the protocol's page: diagrams from the tables, fields from the frames.

``python -m hermes_trio.wire.diagrams [PAGE]`` rewrites what stands between ``<!-- generated: NAME -->`` and
``<!-- end -->``. Everything but :func:`main` is pure; a test compares the page with what this file makes.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import Enum, StrEnum
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias, get_args

import attrs

from hermes_trio.wire import frames
from hermes_trio.wire.transitions import CALL_TABLE, LINK_LOST, LINK_TABLE, LINK_UP, CallState, LinkState

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "wire-protocol.md"

_SECTION = re.compile(r"(<!-- generated: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_Table: TypeAlias = Mapping[Any, Mapping[Any, Mapping[type, Any]]]


def snake(name: str) -> str:
    """The tag of a frame class."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


# --- state diagrams ---------------------------------------------------------------------------------------


def _arrows(table: _Table) -> Iterator[tuple[Enum, Enum, str]]:
    """One arrow for each pair of states and each party: who says what."""
    for old, row in table.items():
        for party, moves in row.items():
            targets: dict[Enum, list[str]] = {}
            for frame, new in moves.items():
                targets.setdefault(new, []).append(snake(frame.__name__))
            for new, said in targets.items():
                yield old, new, f"{party.value} says {', '.join(said)}"


def _diagram(first: Enum, arrows: Iterable[tuple[Enum, Enum, str]], last: Enum) -> str:
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {first.value}"]
    lines += [f"    {old.value} --> {new.value} : {label}" for old, new, label in arrows]
    return "\n".join([*lines, f"    {last.value} --> [*]", "```"])


def call_states() -> str:
    """The table of a call."""
    return _diagram(CallState.NEW, _arrows(CALL_TABLE), CallState.ENDED)


def link_states() -> str:
    """The table of a link, and what a new or a lost link does to it."""
    arrows = [*_arrows(LINK_TABLE)]
    for moves, label in ((LINK_UP, "new link"), (LINK_LOST, "link lost")):
        arrows += [(old, new, label) for old, new in moves.items() if old is not new]
    return _diagram(LinkState.DOWN, arrows, LinkState.OVER)


# --- fields -----------------------------------------------------------------------------------------------

_TYPES = {
    "CallId": "call id: integer ≥ 1",
    "Count": "integer ≥ 0",
    "Epoch": "epoch: integer ≥ 0",
    "ErrorCode": "[error code](#error-codes)",
    "Lease": "[lease](#lease)",
    "Limits": "[limits](#limits)",
    "Mapping[str, Any]": "object, passed through",
    "Positive": "integer ≥ 1",
    "PositiveSeconds": "seconds > 0",
    "Provenance": "[provenance](#provenance)",
    "Seconds": "seconds ≥ 0",
    "SessionId": "text",
    "SlotId": "text",
    "Stream": "[stream](#streams)",
    "Traceparent": "[traceparent](#traces)",
    "bool": "boolean",
    "bytes": "payload",
    "str": "text",
    "tuple[Count, ...]": "list of integers ≥ 0",
    "tuple[str, ...]": "list of texts",
}
_SOURCE = {
    node.name: node for node in ast.parse(inspect.getsource(frames)).body if isinstance(node, ast.ClassDef)
}


def _type_in_words(annotation: str) -> str:
    parts = annotation.split(" | ")
    return " or ".join("null" if part == "None" else _TYPES[part] for part in parts)


def _notes(kind: type) -> dict[str, str]:
    """The docstring behind each member of a class."""
    notes = {}
    for node, follower in pairwise(_SOURCE[kind.__name__].body):
        if isinstance(node, ast.AnnAssign | ast.Assign) and isinstance(follower, ast.Expr):
            target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
            notes[ast.unparse(target)] = _prose(ast.literal_eval(follower.value))
    return notes


def _prose(docstring: str) -> str:
    """One line of Markdown, in the words of JSON."""
    line = " ".join(docstring.split()).replace("``None``", "null")
    return line.replace("``", "`")


def _annotations(kind: type) -> dict[str, str]:
    body = _SOURCE[kind.__name__].body
    return {ast.unparse(n.target): ast.unparse(n.annotation) for n in body if isinstance(n, ast.AnnAssign)}


def _default(attribute: attrs.Attribute[Any]) -> str:
    default = attribute.default
    if default is attrs.NOTHING:
        return "required"
    if default is None or isinstance(default, bool):
        return {None: "null", False: "false", True: "true"}[default]
    return f"{default:,}" if isinstance(default, int) else "empty"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def fields_of(kind: type) -> str:
    """The fields of one class, as a table."""
    notes, annotations = _notes(kind), _annotations(kind)
    rows = (
        (f"`{a.name}`", _type_in_words(annotations[a.name]), _default(a), notes.get(a.name, ""))
        for a in attrs.fields(kind)
    )
    return _table(("field", "type", "default", "meaning"), rows)


def _words(kind: type[StrEnum]) -> str:
    notes = _notes(kind)
    return _table(("word", "meaning"), ((f"`{m.value}`", notes.get(m.name, "")) for m in kind))


def _frame(kind: type) -> str:
    summary = _prose((kind.__doc__ or "").partition("\n\n")[0])
    return f"#### `{snake(kind.__name__)}`\n\n{summary}\n\n{fields_of(kind)}"


def _frames(union: Any) -> str:
    return "\n\n".join(_frame(kind) for kind in get_args(union))


# --- the page ---------------------------------------------------------------------------------------------

SECTIONS: Mapping[str, Callable[[], str]] = {
    "call-states": call_states,
    "link-states": link_states,
    "link-frames": lambda: _frames(frames.LinkFrame),
    "session-frames": lambda: _frames(frames.SessionFrame),
    "limits": lambda: fields_of(frames.Limits),
    "lease": lambda: fields_of(frames.Lease),
    "error-codes": lambda: _words(frames.ErrorCode),
    "streams": lambda: _words(frames.Stream),
}


def rewrite(page: str) -> str:
    """Make every generated section anew and leave the rest as it is.

    Raises:
        KeyError: a section that nothing generates.
    """
    return _SECTION.sub(lambda found: f"{found[1]}\n{SECTIONS[found[2]]()}\n\n{found[3]}", page)


def main(arguments: Sequence[str]) -> None:
    """Rewrite the page at the path given, or the project's own."""
    path = Path(arguments[0]) if arguments else PAGE
    path.write_text(rewrite(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
