"""The verb ``drain``: give a daemon no new trajectories."""

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
        "drain",
        line="give a daemon of a running server no new trajectories",
        description="Gives a daemon no new trajectories; those that have slots there keep them. "
        "It is written to the server's audit log.",
    )
    parser.add_argument("daemon", help="its name in `hermes-trio ls daemons`")
    parser.set_defaults(run=lambda arguments: run_remote(arguments, _drain))


async def _drain(client: ConsoleClient, arguments: argparse.Namespace) -> int:
    told = await client.command("drain", daemon=arguments.daemon)
    if arguments.json:
        say(told)
    else:
        print(f"{arguments.daemon} gets no new trajectories")
    return EXIT_FINE
