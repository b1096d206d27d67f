"""The verb ``console``: the live state of a running server in a terminal."""

from __future__ import annotations

import argparse
from typing import Any

from rich.console import Console
from rich.live import Live

from hermes_trio.cli import EXIT_FINE
from hermes_trio.cli.agent_options import whole_number
from hermes_trio.cli.remote import add_remote_parser, run_remote, say
from hermes_trio.console.client import ConsoleClient
from hermes_trio.console.mirror import Mirror, named_snapshot
from hermes_trio.console.view import head, top, whole

_SECTIONS = ("trajectories", "slots", "events", "figures")


def add_parser(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add the verb and its options."""
    parser = add_remote_parser(
        subparsers,
        "console",
        line="watch a running server in the terminal",
        description="Shows what is alive in a running server: a table as of top, a tree, the last events.\n"
        "Leave with Ctrl-C. The same in a browser: the server's address and /console.",
        examples="  hermes-trio console http://10.0.0.5:9001 --token-file token.txt\n"
        "  hermes-trio console --json --count 1 | jq '.trajectories | length'\n",
    )
    add_watch_options(parser)
    parser.set_defaults(run=lambda arguments: run_remote(arguments, _watch), whole=True)


def add_watch_options(parser: argparse.ArgumentParser) -> None:
    """Those that ``top`` has too."""
    parser.add_argument("server", nargs="?", metavar="URL", help="the same as --url")
    parser.add_argument(
        "--count", type=whole_number, metavar="N", help="leave after so many seconds, or snapshots"
    )


async def _watch(client: ConsoleClient, arguments: argparse.Namespace) -> int:
    return await watch(client, arguments)


async def watch(client: ConsoleClient, arguments: argparse.Namespace) -> int:
    """Show or print until there was enough.

    Cancellation: poisons the connection.
    """
    await client.subscribe(_SECTIONS)
    if arguments.json:
        await _print(client, arguments)
    else:
        await _show(client, arguments)
    return EXIT_FINE


async def _print(client: ConsoleClient, arguments: argparse.Namespace) -> None:
    """A snapshot a second."""
    mirror, printed, printed_at = Mirror(), 0, 0.0
    while True:
        mirror.apply(await client.receive_tick())
        if mirror.now - printed_at >= 1.0:
            printed, printed_at = printed + 1, mirror.now
            say(named_snapshot(_snapshot(mirror)))
        if printed == arguments.count:
            return


async def _show(client: ConsoleClient, arguments: argparse.Namespace) -> None:
    mirror, drawn, console = Mirror(), 0, Console()
    with Live(console=console, auto_refresh=False, screen=console.is_terminal) as live:
        while True:
            mirror.apply(await client.receive_tick())
            drawn += 1
            live.update(_drawn(mirror, client, console, arguments), refresh=True)
            if arguments.count is not None and drawn == 4 * arguments.count:
                return


def _drawn(mirror: Mirror, client: ConsoleClient, console: Console, arguments: argparse.Namespace) -> Any:
    from rich.console import Group

    name = str(client.welcome["name"])
    if arguments.whole:
        return whole(mirror, name=name, height=console.height)
    return Group(head(mirror, name=name), top(mirror, rows=console.height - 4 - len(mirror.daemons)))


def _snapshot(mirror: Mirror) -> dict[str, Any]:
    return {
        "now": mirror.now,
        "trajectories": list(mirror.trajectories.values()),
        "slots": list(mirror.slots.values()),
        "daemons": list(mirror.daemons.values()),
        **{name: mirror.figures.get(name) for name in ("counters", "phases", "tools")},
    }
