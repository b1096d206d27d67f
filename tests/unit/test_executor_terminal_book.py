"""Which terminals an executor knows of, by the answers to its calls."""

from __future__ import annotations

from hermes_trio.errors import Provenance
from hermes_trio.executor.terminal_book import LiveTerminal, TerminalBook
from hermes_trio.wire.frames import CallId, Result
from hermes_trio.wire.operations import Operation, TerminalAction


def _note(
    book: TerminalBook,
    action: TerminalAction,
    *,
    of: str = "t",
    name: str = "main",
    started: bool = True,
    provenance: Provenance = Provenance.OK,
    operation: Operation = Operation.TERMINAL,
) -> None:
    result = Result(call_id=CallId(1), provenance=provenance, data={"started": started})
    book.note(of, operation, {"action": action, "name": name}, result)


def _names(book: TerminalBook) -> list[tuple[int, str]]:
    return [(each.number, each.name) for each in book.alive(lambda _: True)]


def test_what_was_started_is_known_until_it_is_stopped() -> None:
    """By name; a start that found it running changes nothing, one that made a new one counts anew."""
    book = TerminalBook()
    _note(book, TerminalAction.START)
    _note(book, TerminalAction.START, name="build", started=False)
    _note(book, TerminalAction.START, started=False)
    assert _names(book) == [(1, "main"), (2, "build")]
    _note(book, TerminalAction.START)
    assert _names(book) == [(3, "main"), (2, "build")]
    _note(book, TerminalAction.STOP)
    _note(book, TerminalAction.STOP)
    assert _names(book) == [(2, "build")]


def test_what_was_not_done_is_not_known() -> None:
    """A failure, a call without an answer, other actions, other operations."""
    book = TerminalBook()
    _note(book, TerminalAction.START, provenance=Provenance.LIMIT_EXCEEDED)
    _note(book, TerminalAction.CAPTURE)
    _note(book, TerminalAction.START, operation=Operation.BASH)
    book.note("t", Operation.TERMINAL, {"action": TerminalAction.START}, None)
    assert _names(book) == []


def test_terminals_go_with_their_slots() -> None:
    """Those of a slot that is given back, and those of one that was lost."""
    book = TerminalBook()
    for trajectory in ("a", "b"):
        _note(book, TerminalAction.START, of=trajectory)
    book.forget("a")
    assert book.alive(lambda _: True) == (LiveTerminal(2, "b", "main"),)
    assert book.alive(lambda _: False) == ()
    assert book.alive(lambda _: True) == ()
