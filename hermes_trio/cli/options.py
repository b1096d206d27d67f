"""The options of ``hermes-trio run``: their parser, and the settings that come of them."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, cast

from attrs import asdict, field, frozen

from hermes_trio.cli.agent_options import (
    AgentSettings,
    add_agent_options,
    read_agent_settings,
    secret_of,
    whole_number,
)
from hermes_trio.errors import InvalidInputError
from hermes_trio.link.auth import check_token_text
from hermes_trio.link.url import parse_link_url
from hermes_trio.rollouts.tasks import shipped_tasks_path
from hermes_trio.telemetry.options import TelemetrySettings, add_telemetry_options, read_telemetry

SHIPPED = "shipped"
"""Stands for the task file that comes with the package."""

DEFAULT_SLOTS = 16
MAX_TOKEN_LINE_BYTES = 8192
SCRIPTED_NAMES = ("reference", "erring")

_DESCRIPTION = """\
Runs every task of a task file: an agent loop talks to a model, its commands run in sandboxes, a verifier
grades what is there at the end. Finished trajectories are written at once to trajectories.jsonl in the run's
directory, the figures at the end to summary.json.
"""

_EXAMPLES = """\
examples:
  hermes-trio run
      the shipped tasks, solved by a scripted model: shows that this machine can do it
  hermes-trio run tasks.jsonl --model http://127.0.0.1:8000/v1 --group-size 8 --slots 64
      eight trajectories of each of your tasks, by a model that you serve
  hermes-trio run --scripted erring --seed 7 --limit 10
      ten tasks by a model that makes mistakes, the same ones each time
  hermes-trio run tasks.jsonl --model https://api.example.org/v1 --model-name m1 --api-key-env API_KEY --json
      a hosted model; the summary goes to standard output as JSON

  hermes-trio run tasks.jsonl --model http://127.0.0.1:8000/v1 --parser qwen3_coder --tools full \\
      --mcp mcp.json --max-tool-calls 40 --trajectory-s 600 --token-ids
      calls are parsed from raw text, tools of MCP servers are offered too, and token ids kept for training
  hermes-trio run tasks.jsonl --backend static --daemon-url ws://10.0.0.5:7000 --token-file token.txt
      commands run on another machine, by a sandbox-daemon that somebody started there

exit codes:
  0 all trajectories were run and solved; 1 some were not, the table says why; 2 an option or the task file is
  wrong; 3 this machine or the model server lacks something; 130 after Ctrl-C, with what was finished kept
"""


@frozen(kw_only=True)
class RunSettings:
    """What a run was asked to do.

    Args:
        tasks: the task file.
        limit: only the first tasks of it; ``None``: all.
        group_size: trajectories of each task.
        backend: where the slots are.
        daemon_urls: the daemons of the backend ``static``.
        token: what they accept; ``None``: they want none.
        slots: workspaces in all; the backend ``static`` has as many as its daemons.
        daemons: processes they are divided over.
        isolation: what to do on a host that cannot isolate.
        allow_network: whether commands may use the network.
        allow_background: whether commands may go on in the background, as jobs.
        concurrency: trajectories alive at once.
        agent: what it may do, and how its model samples.
        model_url: an OpenAI-compatible server; ``None``: a scripted model.
        model_name: the model's name there; ``None``: what the server serves.
        api_key: bearer token for it.
        scripted: name of the scripted policy.
        seed: of what is random in a model: sampling, or scripted mistakes.
        out: directory for the run; ``None``: a new one below ``runs``.
        as_json: print the summary as JSON instead of a table.
        quiet: print neither progress nor table.
        telemetry: what it tells of itself.
    """

    tasks: Path
    limit: int | None = None
    group_size: int = 1
    backend: str = "local"
    daemon_urls: tuple[str, ...] = ()
    token: str | None = field(default=None, repr=False)
    slots: int = DEFAULT_SLOTS
    daemons: int = 1
    isolation: Literal["auto", "required", "none"] = "auto"
    allow_network: bool = False
    allow_background: bool = False
    concurrency: int = DEFAULT_SLOTS
    agent: AgentSettings = field(factory=AgentSettings)
    model_url: str | None = None
    model_name: str | None = None
    api_key: str | None = field(default=None, repr=False)
    scripted: str = "reference"
    seed: int = 0
    out: Path | None = None
    as_json: bool = False
    quiet: bool = False
    telemetry: TelemetrySettings = field(factory=TelemetrySettings)

    def to_mapping(self) -> dict[str, Any]:
        """For ``summary.json``: how to run it again, and no secret."""
        hidden = {
            "api_key",
            "token",
            "as_json",
            "quiet",
            "out",
            "model_url",
            "daemon_urls",
            "agent",
            "telemetry",
        }
        kept = {name: value for name, value in asdict(self).items() if name not in hidden}
        kept |= self.agent.to_mapping()
        daemons = [parse_link_url(url).origin for url in self.daemon_urls]
        return kept | {"tasks": str(self.tasks), "daemon_urls": daemons}


def add_run_parser(subparsers: argparse._SubParsersAction[Any], *, run: Callable[..., int]) -> None:
    """Add the verb ``run`` and its options."""
    parser = subparsers.add_parser(
        "run",
        help="run a task file: agent rollouts in sandboxes, a table, trajectories on disk",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "tasks",
        nargs="?",
        default=SHIPPED,
        metavar="TASKS.jsonl",
        help=f"the task file, or '{SHIPPED}': the tasks that come with the package (the default)",
    )
    _add_model_options(parser)
    add_agent_options(parser)
    _add_sandbox_options(parser)
    _add_run_options(parser)
    add_telemetry_options(parser, level="warning")
    parser.set_defaults(run=run)


def _add_model_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("who solves them")
    either = group.add_mutually_exclusive_group()
    either.add_argument("--model", metavar="URL", help="an OpenAI-compatible server, as http://host:port/v1")
    either.add_argument(
        "--scripted",
        metavar="NAME",
        choices=SCRIPTED_NAMES,
        help="a scripted model, served over real HTTP: 'reference' (the default) plays the tasks' reference "
        "commands, 'erring' makes mistakes on the way",
    )
    group.add_argument("--model-name", metavar="NAME", help="default: the one that the server serves")
    group.add_argument("--api-key-env", metavar="VAR", help="environment variable that holds the API key")
    group.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="of what is random: each request carries a seed that "
        "follows from it, the task and the place in the group (0)",
    )


def _add_sandbox_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("where their commands run")
    group.add_argument(
        "--backend",
        choices=("local", "static"),
        default="local",
        help="'local' (the default): this machine; 'static': sandbox daemons that run already",
    )
    group.add_argument(
        "--daemon-url", action="append", metavar="URL", help="static: one of them, ws://host:port; repeat it"
    )
    group.add_argument(
        "--token-file", type=Path, metavar="FILE", help="static: file whose first line is their token"
    )
    group.add_argument("--slots", type=whole_number, metavar="N", help=f"local: workspaces ({DEFAULT_SLOTS})")
    group.add_argument("--daemons", type=whole_number, metavar="N", help="local: processes for them (1)")
    group.add_argument(
        "--isolation",
        choices=("auto", "required", "none"),
        default="auto",
        help="'required' wants namespaces; 'auto' (the default), as root, also takes a uid per workspace "
        "and says so; 'none' isolates nothing: for trusted commands; see hermes-trio doctor",
    )
    group.add_argument("--allow-network", action="store_true", help="commands may use the network")
    group.add_argument(
        "--allow-background",
        action="store_true",
        help="commands may go on in the background, as jobs; static: the daemons must allow it, too",
    )


def _add_run_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("how")
    group.add_argument(
        "--group-size", type=whole_number, default=1, metavar="K", help="trajectories per task (1)"
    )
    group.add_argument(
        "--concurrency",
        type=whole_number,
        metavar="N",
        help=f"trajectories at once (the slots; static: {DEFAULT_SLOTS})",
    )
    group.add_argument("--limit", type=whole_number, metavar="N", help="only the first N tasks")
    group.add_argument("--out", type=Path, metavar="DIR", help="the run's directory (a new one in ./runs)")
    group.add_argument("--json", action="store_true", help="print the summary as JSON instead of a table")
    group.add_argument("--quiet", action="store_true", help="neither progress nor table")


def read_settings(arguments: argparse.Namespace) -> RunSettings:
    """The settings that the words of the command line stand for.

    Raises:
        InvalidInputError: options that do not go together, or a key that is not there.
    """
    if arguments.model is None:
        for option in ("model_name", "api_key_env"):
            if getattr(arguments, option) is not None:
                raise _only_with("--model", option)
    _check_backend_options(arguments)
    shipped = arguments.tasks == SHIPPED
    return RunSettings(
        tasks=shipped_tasks_path() if shipped else Path(arguments.tasks),
        limit=arguments.limit,
        group_size=arguments.group_size,
        backend=arguments.backend,
        daemon_urls=tuple(arguments.daemon_url or ()),
        token=read_token(arguments.token_file),
        slots=arguments.slots or DEFAULT_SLOTS,
        daemons=arguments.daemons or 1,
        isolation=cast(Literal["auto", "required", "none"], arguments.isolation),
        allow_network=arguments.allow_network,
        allow_background=arguments.allow_background,
        concurrency=arguments.concurrency or arguments.slots or DEFAULT_SLOTS,
        agent=read_agent_settings(arguments),
        model_url=arguments.model,
        model_name=arguments.model_name,
        api_key=_api_key(arguments.api_key_env),
        scripted=arguments.scripted or SCRIPTED_NAMES[0],
        seed=arguments.seed,
        out=arguments.out,
        as_json=arguments.json,
        quiet=arguments.quiet,
        telemetry=read_telemetry(arguments),
    )


def _only_with(what: str, option: str) -> InvalidInputError:
    return InvalidInputError(f"goes with {what} only", source=f"--{option.replace('_', '-')}")


def _check_backend_options(arguments: argparse.Namespace) -> None:
    static = arguments.backend == "static"
    for option in ("slots", "daemons") if static else ("daemon_url", "token_file"):
        if getattr(arguments, option) is not None:
            raise _only_with(f"--backend {'local' if static else 'static'}", option)
    if static and arguments.isolation == "none":
        raise InvalidInputError("a daemon that runs already isolates as it does", source="--isolation none")
    if static and not arguments.daemon_url:
        raise InvalidInputError("--backend static wants at least one", source="--daemon-url")
    for url in arguments.daemon_url or ():
        parse_link_url(url)


def read_token(path: Path | None) -> str | None:
    """The first line: a daemon's own file may have a second one, while one token replaces the other."""
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            line = file.readline(MAX_TOKEN_LINE_BYTES)
    except OSError as error:
        raise InvalidInputError(f"cannot be read: {error.strerror}", source=str(path)) from error
    try:
        return check_token_text(line.decode("ascii", "replace").strip())
    except InvalidInputError as error:
        raise InvalidInputError(str(error), source=str(path)) from error


def _api_key(variable: str | None) -> str | None:
    return None if variable is None else secret_of(variable, option="--api-key-env")
