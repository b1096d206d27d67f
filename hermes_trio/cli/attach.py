"""The verb ``attach``: a terminal in a slot of a running server, on this terminal."""

from __future__ import annotations

import argparse
import codecs
import os
import shutil
import signal
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import trio

from hermes_trio.cli import EXIT_FINE
from hermes_trio.cli.remote import add_remote_parser, run_remote, say
from hermes_trio.console.client import ConsoleClient

DETACH: Final = b"\x1d"
"""Ctrl-], as telnet has it."""
_INTERRUPT: Final = b"\x03"
COLUMNS: Final = (20, 500)
ROWS: Final = (10, 200)
"""Sizes that a terminal of a slot can have."""

_DESCRIPTION = """\
Shows the terminal of a trajectory's slot on this one: the agent's own, if it has one, else a new shell. You
only watch, unless you say --write. Ctrl-] leaves, and the terminal goes on; who only watches can leave by
Ctrl-C too. With --json it comes as an asciicast, which asciinema's player and the console's Replay play.
"""
_EXAMPLES = """\
  hermes-trio attach task-7            watch
  hermes-trio attach task-7 --write    type into it, and give it the size of this terminal
  hermes-trio attach task-7 --json > task-7.cast
"""


def add_parser(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add the verb and its options."""
    parser = add_remote_parser(
        subparsers,
        "attach",
        line="watch a terminal in a slot, or type into it",
        description=_DESCRIPTION,
        examples=_EXAMPLES,
    )
    parser.add_argument("trajectory", help="a trajectory that holds a slot")
    parser.add_argument("--write", action="store_true", help="type into it")
    parser.set_defaults(run=lambda arguments: run_remote(arguments, _attach))


async def _attach(client: ConsoleClient, arguments: argparse.Namespace) -> int:
    attached = await client.command("attach", trajectory=arguments.trajectory, **_size())
    channel: int = attached["channel"]
    if arguments.write:
        await client.command("write", channel=channel, writable=True)
    if arguments.json:
        say({"version": 2, "width": attached["columns"], "height": attached["rows"]})
    why = ""
    with _raw() as is_raw:
        if is_raw and not arguments.json:
            does = "typing into" if arguments.write else "watching"
            sys.stderr.write(f"{does} the terminal of {arguments.trajectory}; Ctrl-] leaves\r\n")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_send_keys, client, channel, arguments.write, nursery.cancel_scope)
            if arguments.write:  # who only watches leaves the terminal as it is
                await _resize(client, channel)
                nursery.start_soon(_follow_size, client, channel)
            why = await _show(client, arguments.json)
            nursery.cancel_scope.cancel()
    if why and not arguments.json:
        sys.stderr.write(f"the terminal of {arguments.trajectory}: {why}\n")
    return EXIT_FINE


def _size() -> dict[str, int]:
    """Of this terminal, as near as a slot's can have it."""
    size = shutil.get_terminal_size()
    return {
        "columns": max(COLUMNS[0], min(size.columns, COLUMNS[1])),
        "rows": max(ROWS[0], min(size.lines, ROWS[1])),
    }


async def _show(client: ConsoleClient, as_json: bool) -> str:
    """Until the terminal has ended: why."""
    began = trio.current_time()
    # A character may lie across two pieces.
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    while True:
        message = await client.receive()
        if isinstance(message, dict):
            if message.get("t") == "closed":
                return str(message.get("reason", ""))
        elif as_json:
            if text := decoder.decode(message[1:]):
                say([round(trio.current_time() - began, 6), "o", text])
        else:
            sys.stdout.buffer.write(message[1:])
            sys.stdout.flush()


async def _send_keys(client: ConsoleClient, channel: int, writes: bool, over: trio.CancelScope) -> None:
    """What is typed here; who only watches can still leave."""
    if sys.stdin is None or sys.stdin.closed:
        await trio.lowlevel.checkpoint()
        return
    head, is_terminal = bytes([channel]), sys.stdin.isatty()
    descriptor = os.dup(sys.stdin.fileno())
    # FdStream makes the descriptor non-blocking, and it is shared with the shell that started us.
    was_blocking = os.get_blocking(descriptor)
    try:
        async with trio.lowlevel.FdStream(descriptor) as keys:
            while data := await keys.receive_some(4096):
                leaves = is_terminal and (DETACH in data or (_INTERRUPT in data and not writes))
                typed = data.partition(DETACH)[0] if is_terminal else data
                if writes and typed:
                    await client.send(head + typed)
                if leaves:
                    over.cancel()
    finally:
        os.set_blocking(sys.stdin.fileno(), was_blocking)


async def _follow_size(client: ConsoleClient, channel: int) -> None:
    with trio.open_signal_receiver(signal.SIGWINCH) as changes:
        async for _ in changes:
            await _resize(client, channel)


async def _resize(client: ConsoleClient, channel: int) -> None:
    if sys.stdin is not None and sys.stdin.isatty():
        args = {"channel": channel, **_size()}
        await client.send({"t": "command", "id": 0, "name": "resize", "args": args})
    await trio.lowlevel.checkpoint()


@contextmanager
def _raw() -> Iterator[bool]:
    """Every key as it is typed, where it is a terminal that is typed on: whether it is."""
    if sys.stdin is None or not sys.stdin.isatty():
        yield False
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    tty.setraw(descriptor, termios.TCSADRAIN)  # what was typed meanwhile is typed
    try:
        yield True
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
