"""The verb ``cancel``: end a trajectory, or one call."""

from __future__ import annotations

import argparse
from typing import Any

from hermes_trio.cli import EXIT_FINE
from hermes_trio.cli.remote import add_remote_parser, run_remote, say
from hermes_trio.console.client import ConsoleClient


def add_parser(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add the verb and its options."""
    parser = add_remote_parser(
        subparsers,
        "cancel",
        line="end a trajectory of a running server, or one call",
        description="Ends a trajectory (its calls are killed, its slot is wiped and given back), or one\n"
        "call (everything that it started is killed, and its caller is answered `cancelled`). It is\n"
        "written to the server's audit log.",
        examples="  hermes-trio cancel task-7\n  hermes-trio ls calls; hermes-trio cancel --call 42\n",
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("trajectory", nargs="?", help="the trajectory's id")
    what.add_argument("--call", type=int, metavar="N", help="one call, by its number")
    parser.set_defaults(run=lambda arguments: run_remote(arguments, _cancel))


async def _cancel(client: ConsoleClient, arguments: argparse.Namespace) -> int:
    if arguments.call is not None:
        told = await client.command("cancel_call", call=arguments.call)
        sentence = f"call {arguments.call} is told to end"
    else:
        told = await client.command("cancel_trajectory", trajectory=arguments.trajectory)
        sentence = f"trajectory {arguments.trajectory} has ended; its slot was given back"
    if arguments.json:
        say(told)
    else:
        print(sentence)
    return EXIT_FINE
