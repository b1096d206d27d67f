"""The verb ``drain``: give a daemon no new trajectories."""

from __future__ import annotations

import argparse
from typing import Any

from hermes_trio.cli import EXIT_FINE
from hermes_trio.cli.remote import add_remote_parser, run_remote, say
from hermes_trio.console.client import ConsoleClient

_DESCRIPTION = """\
Gives a daemon no new trajectories from this server; those that have slots there keep them until they give
them back. The daemon itself is not told: other executors may use it. A daemon that is to stop altogether is
sent SIGTERM on its own machine, and tells all its executors. Written to the server's audit log; it lasts as
long as the server.
"""


def add_parser(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add the verb and its options."""
    parser = add_remote_parser(
        subparsers,
        "drain",
        line="give a daemon of a running server no new trajectories",
        description=_DESCRIPTION,
        examples="  hermes-trio ls daemons\n  hermes-trio drain daemon-1\n",
    )
    parser.add_argument("daemon", help="its name in `hermes-trio ls daemons`")
    parser.set_defaults(run=lambda arguments: run_remote(arguments, _drain))


async def _drain(client: ConsoleClient, arguments: argparse.Namespace) -> int:
    told = await client.command("drain", daemon=arguments.daemon)
    if arguments.json:
        say(told)
    else:
        leased = told["leased"]
        slots = "1 slot is" if leased == 1 else f"{leased} slots are"
        print(f"{arguments.daemon} gets no new trajectories from this server; {slots} still leased there")
    return EXIT_FINE
