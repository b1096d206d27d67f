"""What the verbs that steer a running server have in common: where it is, and who asks."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import trio

from hermes_trio.cli.interrupt import open_interruptible
from hermes_trio.cli.options import read_token
from hermes_trio.console.client import DEFAULT_URL, ConsoleClient, open_console_client

URL_VARIABLE = "HERMES_TRIO_URL"
TOKEN_VARIABLE = "TOOL_EXECUTOR_TOKEN"  # noqa: S105 - the name of a variable


_EXIT_CODES = """\
exit codes:
  2 there is no such thing there, or the command is wrong; 3 nobody answers, the token was refused, or the
  server went away; 130 after Ctrl-C
"""


def add_remote_parser(
    subparsers: argparse._SubParsersAction[Any], name: str, *, line: str, description: str, examples: str
) -> argparse.ArgumentParser:
    """A verb's parser, with the options of all of them."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        name,
        help=line,
        description=description,
        epilog=f"examples:\n{examples}\n{_EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--url",
        default=os.environ.get(URL_VARIABLE, DEFAULT_URL),
        help=f"of the server (${URL_VARIABLE}, else {DEFAULT_URL})",
    )
    parser.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        help=f"file whose first line is the server's token (else ${TOKEN_VARIABLE})",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def run_remote(
    arguments: argparse.Namespace, work: Callable[[ConsoleClient, argparse.Namespace], Awaitable[int]]
) -> int:
    """Connect, work, and return the exit code."""
    return trio.run(_run, arguments, work)


async def _run(
    arguments: argparse.Namespace, work: Callable[[ConsoleClient, argparse.Namespace], Awaitable[int]]
) -> int:
    token = read_token(arguments.token_file) or os.environ.get(TOKEN_VARIABLE)
    code = 0
    url = getattr(arguments, "server", None) or arguments.url
    async with (
        open_interruptible() as interruption,
        open_console_client(url, token=token) as client,
    ):
        code = await work(client, arguments)
    return code if interruption.signal_number is None else interruption.exit_code


def say(value: object) -> None:
    """One line of JSON, at once: somebody may be reading along."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    sys.stdout.flush()
