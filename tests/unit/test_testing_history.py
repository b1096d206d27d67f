"""The judge: each promise, kept and broken."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hermes_trio.errors import Provenance
from hermes_trio.testing.history import History, violations


def kept() -> History:
    """One of everything that may happen."""
    history = History()
    for call in ("done", "failed", "limited", "denied", "lost", "unsent", "left"):
        history.ask(call, trajectory="t")
    history.end("done", Provenance.OK)
    history.end("failed", Provenance.TOOL_ERROR)
    history.end("limited", Provenance.LIMIT_EXCEEDED)
    history.end("denied", Provenance.DENIED)
    history.end("lost", Provenance.LINK_LOST, "unknown")
    history.end("unsent", Provenance.SANDBOX_LOST, "not_started")
    history.leave("left")
    for call in ("done", "failed", "lost"):
        history.effect(call)
    history.read(reader="t", writer="t")
    for epoch in (1, 2, 5):
        history.lease("slot", epoch)
        history.give_back("slot", epoch)
    return history


def test_what_may_happen_is_no_violation() -> None:
    """A lost call may have run or not; one that was left too."""
    assert violations(kept()) == ()


@pytest.mark.parametrize(
    ("breach", "text"),
    [
        (lambda h: h.end("done", Provenance.OK), "call done ended 2 times: ['ok', 'ok']"),
        (lambda h: h.ask("more", trajectory="t"), "call more never ended"),
        (lambda h: h.effect("done"), "call done ran 2 times"),
        (lambda h: h.effect("ghost"), "call ghost had an effect, and nobody asked for it"),
        (lambda h: h.effect("unsent"), "call unsent ended as one that never began, and it ran"),
        (lambda h: h.effect("denied"), "call denied ended as one that never began, and it ran"),
        (
            lambda h: h.effects.pop("failed"),
            "call failed ended as tool_error, and there is nothing of it",
        ),
        (lambda h: h.read(reader="t", writer="u"), "t found in its slot what u had written"),
        (lambda h: h.lease("slot", 6), "slot slot (epoch 6) was never given back"),
        (
            lambda h: (h.lease("slot", 5), h.give_back("slot", 5)),
            "the epoch of slot slot went from 5 to 5",
        ),
        (
            lambda h: (h.lease("slot", 6), h.lease("slot", 7), h.give_back("slot", 7)),
            "slot slot was leased again (epoch 7) while epoch 6 held it",
        ),
    ],
)
def test_a_broken_promise_is_named(breach: Callable[[History], object], text: str) -> None:
    """One line, with the call or the slot in it."""
    history = kept()
    breach(history)
    assert violations(history) == (text,)
