"""The verb ``attach``: a terminal in a slot of a running server, on this terminal."""

from __future__ import annotations

import argparse
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


def add_parser(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add the verb and its options."""
    parser = add_remote_parser(
        subparsers,
        "attach",
        line="watch a terminal in a slot, or type into it",
        description="Shows a terminal in the slot of a trajectory on this one. You only watch, unless you "
        "say --write. Ctrl-] leaves it. With --json what it prints comes as lines of an asciicast.",
    )
    parser.add_argument("trajectory", help="a trajectory that holds a slot")
    parser.add_argument("--write", action="store_true", help="type into it")
    parser.set_defaults(run=lambda arguments: run_remote(arguments, _attach))


async def _attach(client: ConsoleClient, arguments: argparse.Namespace) -> int:
    size = shutil.get_terminal_size()
    attached = await client.command(
        "attach", trajectory=arguments.trajectory, columns=size.columns, rows=size.lines
    )
    channel: int = attached["channel"]
    if arguments.write:
        await client.command("write", channel=channel, writable=True)
    with _raw(sys.stdin.fileno()):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_send_keys, client, channel, arguments.write, nursery.cancel_scope)
            nursery.start_soon(_follow_size, client, channel)
            await _show(client, arguments.json)
            nursery.cancel_scope.cancel()
    return EXIT_FINE


async def _show(client: ConsoleClient, as_json: bool) -> None:
    """Until the terminal has ended."""
    began = trio.current_time()
    while True:
        message = await client.receive()
        if isinstance(message, dict):
            if message.get("t") == "closed":
                return
        elif as_json:
            say([round(trio.current_time() - began, 6), "o", message[1:].decode("utf-8", "replace")])
        else:
            sys.stdout.buffer.write(message[1:])
            sys.stdout.flush()


async def _send_keys(client: ConsoleClient, channel: int, writes: bool, over: trio.CancelScope) -> None:
    """What is typed here; who only watches can still leave."""
    head = bytes([channel])
    descriptor = os.dup(sys.stdin.fileno())
    # FdStream makes the descriptor non-blocking, and it is shared with the shell that started us.
    was_blocking = os.get_blocking(descriptor)
    try:
        async with trio.lowlevel.FdStream(descriptor) as keys:
            while data := await keys.receive_some(4096):
                if data == DETACH:
                    over.cancel()
                elif writes:
                    await client.send(head + data)
    finally:
        os.set_blocking(sys.stdin.fileno(), was_blocking)


async def _follow_size(client: ConsoleClient, channel: int) -> None:
    with trio.open_signal_receiver(signal.SIGWINCH) as changes:
        async for _ in changes:
            size = shutil.get_terminal_size()
            args = {"channel": channel, "columns": size.columns, "rows": size.lines}
            await client.send({"t": "command", "id": 0, "name": "resize", "args": args})


@contextmanager
def _raw(descriptor: int) -> Iterator[None]:
    """Every key as it is typed, where it is a terminal that is typed on."""
    if not os.isatty(descriptor):
        yield
        return
    before = termios.tcgetattr(descriptor)
    tty.setraw(descriptor)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
