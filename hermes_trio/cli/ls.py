"""The verb ``ls``: what is alive in a running server."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from hermes_trio.cli import EXIT_FINE
from hermes_trio.cli.remote import add_remote_parser, run_remote, say
from hermes_trio.console.client import ConsoleClient
from hermes_trio.console.mirror import named_snapshot
from hermes_trio.console.view import age

KINDS = ("trajectories", "calls", "slots", "daemons")

_COLUMNS: dict[str, Sequence[str]] = {
    "trajectories": ("id", "state", "since", "turn", "daemon", "slot", "calls", "errors", "waits_for"),
    "calls": ("number", "trajectory", "tool", "phase", "since", "limit_s", "pid", "summary"),
    "slots": ("daemon", "slot", "state", "since", "owner"),
    "daemons": ("name", "state", "slots", "leased", "under_way", "queued", "url", "reason"),
}


def add_parser(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add the verb and its options."""
    parser = add_remote_parser(
        subparsers,
        "ls",
        line="list what is alive in a running server",
        description="Lists the trajectories, calls, slots or daemons of a running server, once.",
        examples="  hermes-trio ls\n"
        "  hermes-trio ls calls --json | jq '.[] | select(.phase == \"running\") | .pid'\n",
    )
    parser.add_argument("kind", nargs="?", choices=KINDS, default="trajectories", help="(trajectories)")
    parser.set_defaults(run=lambda arguments: run_remote(arguments, _list))


async def _list(client: ConsoleClient, arguments: argparse.Namespace) -> int:
    snapshot = named_snapshot(await client.command("snapshot"))
    rows = rows_of(snapshot, arguments.kind)
    if arguments.json:
        say(rows)
        return EXIT_FINE
    columns = _COLUMNS[arguments.kind]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column("for" if name == "since" else name.replace("_", " "), no_wrap=True)
    for row in rows:
        table.add_row(*(_text(name, row[name], snapshot["now"]) for name in columns))
    console = Console()
    if not console.is_terminal:  # read by a program: nothing is to be folded
        console = Console(width=500)
    console.print(table if rows else f"no {arguments.kind}")
    return EXIT_FINE


def rows_of(snapshot: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    """The wanted rows of a snapshot; calls are found in their trajectories."""
    if kind != "calls":
        rows: list[dict[str, Any]] = snapshot[kind]
        return rows
    return [
        {**call, "trajectory": each["id"], "daemon": each["daemon"], "slot": each["slot"]}
        for each in snapshot["trajectories"]
        for call in each["live"]
    ]


def _text(name: str, value: object, now: float) -> str:
    if name == "since" and isinstance(value, float):
        return age(now - value)
    return "" if value is None else str(value)
