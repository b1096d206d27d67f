"""The verb ``top``: the trajectories of a running server, the longest wait first."""

from __future__ import annotations

import argparse
from typing import Any

from hermes_trio.cli.console import add_watch_options, watch
from hermes_trio.cli.remote import add_remote_parser, run_remote


def add_parser(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add the verb and its options."""
    parser = add_remote_parser(
        subparsers,
        "top",
        line="the trajectories of a running server, the longest wait first",
        description="Shows the trajectories of a running server, the longest wait first. Leave with Ctrl-C.",
        examples="  hermes-trio top\n  hermes-trio top http://10.0.0.5:9001 --token-file token.txt\n",
    )
    add_watch_options(parser)
    parser.set_defaults(run=lambda arguments: run_remote(arguments, watch), whole=False)
