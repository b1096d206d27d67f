"""``terminal``: its arguments and its report."""

from __future__ import annotations

from enum import StrEnum

from attrs import frozen


class TerminalAction(StrEnum):
    """What can be done with a terminal."""

    START = "start"
    """One of that name that runs is left as it is."""
    SEND = "send"
    """``keys`` by their names, then the payload; answered when all was typed and waited for."""
    CAPTURE = "capture"
    """Payload: the scrollback's lines, then the screen's."""
    OUTPUT = "output"
    """Payload: raw output from ``offset`` on; waits up to ``max_wait_s`` for some."""
    RECORDING = "recording"
    """Payload: whole lines of the asciicast from byte ``offset`` on."""
    RESIZE = "resize"
    STOP = "stop"
    """Ends it and forgets it, its recording too. Idempotent."""


@frozen(kw_only=True)
class TerminalArguments:
    """One thing to be done with a terminal of the slot."""

    action: str
    """A :class:`TerminalAction`."""
    name: str = "main"
    argv: tuple[str, ...] = ()
    """The program, looked for in ``PATH``, and its arguments; empty: an interactive bash."""
    columns: int = 120
    rows: int = 40
    allow_network: bool = False
    require_stateful_sandbox: bool = False
    keys: tuple[str, ...] = ()
    """Names of keys as tmux has them; a word that is none is typed as it is."""
    paste: bool = False
    """In brackets, if the program asked for that."""
    block: bool = False
    """Wait until the first program of the terminal has it again, at most ``max_wait_s``."""
    min_wait_s: float = 0.0
    max_wait_s: float = 0.0
    offset: int = 0
    max_bytes: int = 65_536
    scrollback_lines: int = 0
    show: bool = False
    """``start`` and ``send``: answer as ``capture`` does, when they are done."""
    follow: bool = False
    """``recording``: from where the last call with this ended, instead of ``offset``."""
    reset: bool = False
    """``recording`` with ``follow``: from the beginning again."""


@frozen(kw_only=True)
class TerminalReport:
    """How the terminal stands."""

    name: str
    columns: int
    rows: int
    running: bool
    exit_code: int | None = None
    """Of its program; 128 + signal number when a signal ended it."""
    started: bool = False
    """This call started it."""
    sent_bytes: int = 0
    settled: bool = True
    """``block``: it has the terminal again."""
    offset: int = 0
    """``output`` and ``recording``: where to go on."""
    first_offset: int = 0
    """``output``: where the payload begins; later than asked for when what lies between is no more kept."""
    cursor: tuple[int, int] = (0, 0)
    """Row and column, from 0."""
    alternate: bool = False
    """The program uses the alternate screen: it is a full-screen program."""
    screen_lines: int = 0
    """``capture``: how many of the lines are the screen's."""
    skipped_bytes: int = 0
    """Of a flood that was not emulated."""
