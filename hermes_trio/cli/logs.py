"""The verb ``logs``: the events of a running server, as they happen."""

from __future__ import annotations

import argparse
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.markup import escape

from hermes_trio.cli import EXIT_FINE
from hermes_trio.cli.agent_options import whole_number
from hermes_trio.cli.remote import add_remote_parser, run_remote, say
from hermes_trio.console.client import ConsoleClient
from hermes_trio.console.mirror import EVENT, named

_STYLES = {"error": "red", "warning": "yellow", "info": ""}


def add_parser(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add the verb and its options."""
    parser = add_remote_parser(
        subparsers,
        "logs",
        line="follow the events of a running server",
        description="Prints events as they happen, until Ctrl-C. What is too much for the connection is\n"
        "left out: the server never waits for who reads its events.",
        examples="  hermes-trio logs\n  hermes-trio logs task-7 --json | jq -r .text\n",
    )
    parser.add_argument("trajectory", nargs="?", help="of this trajectory only")
    parser.add_argument("--count", type=whole_number, metavar="N", help="stop after so many events")
    parser.set_defaults(run=lambda arguments: run_remote(arguments, _follow))


async def _follow(client: ConsoleClient, arguments: argparse.Namespace) -> int:
    await client.subscribe(["events"])
    console = Console(highlight=False, soft_wrap=True)
    offset_s = client.welcome["wall"] - client.welcome["now"]
    left = arguments.count
    while True:
        tick = await client.receive_tick()
        for row in tick.get("events", ()):
            event = named(row, EVENT)
            if arguments.trajectory not in (None, event["trajectory"]):
                continue
            if arguments.json:
                say(event)
            else:
                console.print(_line(event, offset_s), style=_STYLES[event["level"]])
            left = None if left is None else left - 1
            if left == 0:
                return EXIT_FINE


def _line(event: dict[str, Any], offset_s: float) -> str:
    at = datetime.fromtimestamp(event["at"] + offset_s).strftime("%H:%M:%S.%f")[:-3]
    call = "" if event["call"] is None else f" #{event['call']}"
    return escape(f"{at} {event['kind']:<18} {event['trajectory']}{call} {event['text']}")
