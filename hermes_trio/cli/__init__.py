"""The program ``hermes-trio``: one file per verb, and one boundary where errors become exit codes.

::

    0    fine
    1    the work ran, and some of it failed
    2    bad usage or bad input: one line on stderr that names the file, the line and the field
    3    the environment lacks something: one line that says what
    130  Ctrl-C (143: SIGTERM), after a clean drain, with what is finished kept

A verb's module is imported when that verb is asked for: ``hermes-trio --help`` loads neither Trio nor rich.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module, metadata
from typing import Never

from hermes_trio.errors import HermesTrioError, InvalidInputError

EXIT_FINE = 0
EXIT_FAILED = 1
EXIT_INPUT = 2
EXIT_ENVIRONMENT = 3
EXIT_INTERRUPTED = 130

VERBS: Mapping[str, str] = {
    "run": "run a task file: agent rollouts in sandboxes, a table, trajectories on disk",
    "serve": "serve the HTTP tool-executor API",
    "bench": "measure the runtime",
    "console": "watch a running server in the terminal",
    "top": "the trajectories of a running server, the longest wait first",
    "ls": "list what is alive in a running server",
    "logs": "follow the events of a running server",
    "attach": "watch a terminal in a slot of a running server, or type into it",
    "cancel": "end a trajectory of a running server, or one call",
    "drain": "give a daemon of a running server no new trajectories",
    "doctor": "what this host can isolate and limit, and what mends what is missing",
}
"""Each verb and its line in ``--help``. The module of the same name has ``add_parser(subparsers)``."""


class OneLineParser(argparse.ArgumentParser):
    """Says what is wrong in one line, instead of printing the whole usage above it."""

    def error(self, message: str) -> Never:
        """Print the line and exit with 2."""
        line = " ".join(message.split())
        self.exit(EXIT_INPUT, f"{self.prog}: {line} (see {self.prog} --help)\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program.

    Args:
        argv: the words after the program's name; ``None``: this process's.

    Returns:
        The exit code, see above.
    """
    if sys.stdout is None:  # closed by who started us (`>&-`): nobody wants to see it
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - lives as long as the process
    try:
        code = _run_verb(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
    except (Exception, BaseExceptionGroup, KeyboardInterrupt) as error:
        told = _output_lost(error) or exit_code_of(error)
        if told is None:
            raise
        return told
    return code


def _output_lost(error: BaseException) -> int | None:
    """What is printed can go nowhere; it may come out of a nursery, among others of its kind."""
    if all(isinstance(leaf, SystemExit) for leaf in _leaves(error)):  # rich's way to say it
        return EXIT_FAILED
    numbers = {leaf.errno if isinstance(leaf, OSError) else None for leaf in _leaves(error)}
    if numbers not in ({errno.EPIPE}, {errno.ENOSPC}):
        return None
    # Python would complain again when it closes stdout.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if numbers == {errno.EPIPE}:  # whoever read us went away (`| head`)
        return EXIT_FAILED
    sys.stderr.write("hermes-trio: standard output cannot be written: no space left on its device\n")
    return EXIT_ENVIRONMENT


def _run_verb(argv: list[str]) -> int:
    arguments = make_parser(argv).parse_args(argv)
    code: int = arguments.run(arguments)
    return code


def make_parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    """The parser of the whole program, of which only the wanted verb is loaded."""
    parser = OneLineParser(
        prog="hermes-trio",
        description="A structured-concurrency runtime for the tool calls of reinforcement-learning rollouts.",
        epilog="`hermes-trio VERB --help` explains a verb. The quickest way to see it work: hermes-trio run",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"hermes-trio {_version()}")
    subparsers = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    wanted = next((word for word in argv if not word.startswith("-")), None)
    for verb, line in VERBS.items():
        if verb == wanted:
            import_module(f"hermes_trio.cli.{verb}").add_parser(subparsers)
        else:
            subparsers.add_parser(verb, help=line)
    return parser


def _version() -> str:
    try:
        return metadata.version("hermes-trio")
    except metadata.PackageNotFoundError:
        return "(not installed)"


def exit_code_of(error: BaseException) -> int | None:
    """Print what a person needs to know of an error and say how to exit; ``None``: it is a bug.

    A group is unwrapped, and what is in it several times is said once.
    """
    leaves = list(_leaves(error))
    if any(isinstance(leaf, KeyboardInterrupt) for leaf in leaves):
        return EXIT_INTERRUPTED
    if not all(isinstance(leaf, HermesTrioError) for leaf in leaves):
        return None
    for text in dict.fromkeys(" ".join(str(leaf).split()) for leaf in leaves):
        sys.stderr.write(f"hermes-trio: {text}\n")
    return min(_code(leaf) for leaf in leaves)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _code(error: BaseException) -> int:
    """Input comes before environment: whoever mends it sees next whether the environment is right.

    All else of ours that comes up here ended a run that was well asked for: a daemon of another protocol, a
    model server that went away.
    """
    return EXIT_INPUT if isinstance(error, InvalidInputError) else EXIT_ENVIRONMENT
