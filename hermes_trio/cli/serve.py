"""The verb ``serve``: an executor behind HTTP, until somebody stops it."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

import trio
from attrs import field, frozen

from hermes_trio.api.environment import ToolExecutorSettings
from hermes_trio.api.server import ApiServer, open_server
from hermes_trio.backends.base import Backend
from hermes_trio.backends.local import open_local_backend
from hermes_trio.backends.static import open_static_backend
from hermes_trio.cli import EXIT_FINE
from hermes_trio.cli.agent_options import whole_number
from hermes_trio.cli.interrupt import open_interruptible
from hermes_trio.cli.options import read_token
from hermes_trio.console.hub import open_console_hub
from hermes_trio.console.routes import console_routes
from hermes_trio.console.slot_terminal import open_slot_terminal
from hermes_trio.errors import InvalidInputError, UnavailableError
from hermes_trio.executor.config import ExecutorConfig
from hermes_trio.executor.executor import open_executor
from hermes_trio.link.asgi import check_may_be_open
from hermes_trio.link.url import parse_link_url
from hermes_trio.models.request import public_url
from hermes_trio.telemetry.options import (
    TelemetrySettings,
    add_telemetry_options,
    read_telemetry,
    telemetry,
)
from hermes_trio.telemetry.watchdog import open_watchdog
from hermes_trio.tools.registry import ToolRegistry, registry_of
from hermes_trio.tools.tool_server.client import ToolServerClient

DEFAULT_PORT = 9001
_ANSWER_LIMIT_S = 20.0
"""How long a ToolServer may take to name its tools."""

_DESCRIPTION = """\
Serves the HTTP tool-executor API and the console on one port: run tool calls in sandboxes, give slots back,
read what was left behind, and watch it all in a browser at /console. Clients of the older tool executor work
unchanged. Says where it listens once it does; stops on Ctrl-C or SIGTERM, after requests under way had their
time.
"""

_EXAMPLES = """\
examples:
  hermes-trio serve
      on 127.0.0.1:9001, with 10 slots on this machine
  hermes-trio serve --host 0.0.0.0 --token-file token.txt --slots 64
      for other machines: they must present the token
  hermes-trio serve --backend static --daemon-url ws://10.0.0.5:7000 --daemon-token-file daemon-token.txt
      commands run on another machine, by a sandbox-daemon that somebody started there

environment: TOOL_EXECUTOR_SLOTS, _MIN_CONTAINERS, _TOKEN, _ALLOW_NETWORK, _ACQUIRE_TIMEOUT_S,
  _BATCH_WINDOW_MS, _MAX_BATCH_SIZE, _TOOL_SERVER_URL and _TOOL_SERVER_TOKEN count where no option does

exit codes:
  2 an option or a variable is wrong; 3 this machine lacks something; 130 after Ctrl-C, 143 after SIGTERM
"""


@frozen(kw_only=True)
class ServeSettings:
    """What a server was asked to be.

    Args:
        host: address to listen on.
        port: 0 takes a free one.
        token: what clients must present.
        backend: where the slots are.
        slots: workspaces in all; the backend ``static`` has as many as its daemons.
        daemons: processes they are divided over.
        daemon_urls: the daemons of the backend ``static``.
        daemon_token: what they accept.
        isolation: what to do on a host that cannot isolate.
        allow_background: whether commands may go on in the background, as jobs.
        environment: what the environment says.
        as_json: say where it listens as JSON.
        telemetry: what it tells of itself.
    """

    host: str
    port: int
    token: str | None = field(default=None, repr=False)
    backend: str
    slots: int
    daemons: int
    daemon_urls: tuple[str, ...] = ()
    daemon_token: str | None = field(default=None, repr=False)
    isolation: Literal["auto", "required", "none"] = "auto"
    allow_background: bool = False
    environment: ToolExecutorSettings
    as_json: bool = False
    telemetry: TelemetrySettings


def add_parser(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add the verb and its options."""
    parser = subparsers.add_parser(
        "serve",
        help="serve the HTTP tool-executor API",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    listen = parser.add_argument_group("where it listens")
    listen.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="(127.0.0.1)")
    listen.add_argument(
        "--port", type=_port, default=DEFAULT_PORT, metavar="N", help=f"0 takes a free one ({DEFAULT_PORT})"
    )
    listen.add_argument(
        "--token-file", type=Path, metavar="FILE", help="file whose first line is what clients must present"
    )
    _add_backend_options(parser)
    add_telemetry_options(parser, level="warning")
    parser.add_argument("--json", action="store_true", help="say where it listens as JSON")
    parser.set_defaults(run=run)


def _add_backend_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("where calls run")
    group.add_argument(
        "--backend",
        choices=("local", "static"),
        default="local",
        help="'local' (the default): this machine; 'static': sandbox daemons that run already",
    )
    group.add_argument("--slots", type=whole_number, metavar="N", help="local: workspaces in all (10)")
    group.add_argument("--daemons", type=whole_number, metavar="N", help="local: processes for them (1)")
    group.add_argument(
        "--daemon-url", action="append", metavar="URL", help="static: one of them, ws://host:port; repeat it"
    )
    group.add_argument(
        "--daemon-token-file", type=Path, metavar="FILE", help="static: file whose first line is their token"
    )
    group.add_argument(
        "--isolation",
        choices=("auto", "required", "none"),
        default="auto",
        help="'required' wants namespaces; 'auto' (the default), as root, also takes a uid per workspace "
        "and says so; 'none' isolates nothing: for trusted commands; see hermes-trio doctor",
    )
    group.add_argument(
        "--allow-background",
        action="store_true",
        help="commands may go on in the background, as jobs; static: the daemons must allow it, too",
    )


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 5 and int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"must be a whole number from 0 to 65535, not {text!r}")
    return int(text)


def read_settings(arguments: argparse.Namespace) -> ServeSettings:
    """The settings that the command line and the environment stand for.

    Raises:
        InvalidInputError: it names the option, the file or the variable.
    """
    environment = ToolExecutorSettings.from_environment(os.environ)
    _check_backend_options(arguments)
    token = read_token(arguments.token_file) or environment.token
    check_may_be_open(arguments.host, has_token=token is not None)
    daemons = arguments.daemons or environment.min_containers
    return ServeSettings(
        host=arguments.host,
        port=arguments.port,
        token=token,
        backend=arguments.backend,
        slots=arguments.slots or environment.slots * daemons,
        daemons=daemons,
        daemon_urls=tuple(arguments.daemon_url or ()),
        daemon_token=read_token(arguments.daemon_token_file),
        isolation=arguments.isolation,
        allow_background=arguments.allow_background,
        environment=environment,
        as_json=arguments.json,
        telemetry=read_telemetry(arguments),
    )


def _check_backend_options(arguments: argparse.Namespace) -> None:
    static = arguments.backend == "static"
    for option in ("slots", "daemons") if static else ("daemon_url", "daemon_token_file"):
        if getattr(arguments, option) is not None:
            told = f"goes with --backend {'local' if static else 'static'} only"
            raise InvalidInputError(told, source=f"--{option.replace('_', '-')}")
    if static and not arguments.daemon_url:
        raise InvalidInputError("--backend static wants at least one", source="--daemon-url")
    for url in arguments.daemon_url or ():
        parse_link_url(url)


def run(arguments: argparse.Namespace) -> int:
    """Serve until a signal, return the exit code.

    Raises:
        HermesTrioError: the server could not begin.
    """
    settings = read_settings(arguments)
    with telemetry(settings.telemetry, service="hermes-trio serve"):
        return trio.run(_run, settings)


async def _run(settings: ServeSettings) -> int:
    async with open_interruptible() as interruption, open_watchdog(), _open_server(settings) as server:
        _say(settings, server)
        await trio.Event().wait()  # until a signal cancels it
    return EXIT_FINE if interruption.signal_number is None else interruption.exit_code


def _say(settings: ServeSettings, server: ApiServer) -> None:
    """Where it listens: the one line on standard output."""
    if settings.as_json:
        print(json.dumps({"url": server.url, "port": server.port, "pid": os.getpid()}), flush=True)
    else:
        print(f"hermes-trio serves on {server.url}", flush=True)


def executor_config(settings: ServeSettings) -> ExecutorConfig:
    """What the executor behind the server is told."""
    environment = settings.environment
    return ExecutorConfig(
        batch_window_ms=environment.batch_window_ms,
        max_batch_size=environment.max_batch_size,
        allow_network=environment.allow_network,
        require_sandbox=settings.isolation == "required",
        allow_background=settings.allow_background,
        tool_server_url=environment.tool_server_url,
        tool_server_token=environment.tool_server_token,
    )


@asynccontextmanager
async def _open_server(settings: ServeSettings) -> AsyncIterator[ApiServer]:
    environment = settings.environment
    config = executor_config(settings)
    tools = await _tools(environment)
    async with (
        _backend(settings) as backend,
        open_executor(backend, config=config, tools=tools) as executor,
        open_console_hub(
            executor,
            name="hermes-trio serve",
            open_terminal=partial(open_slot_terminal, executor),
        ) as hub,
        open_server(
            executor,
            host=settings.host,
            port=settings.port,
            token=settings.token,
            acquire_limit_s=environment.acquire_timeout_s,
            mounts=[lambda api: console_routes(hub, gate=api.gate)],
        ) as server,
    ):
        yield server


def _backend(settings: ServeSettings) -> AbstractAsyncContextManager[Backend]:
    if settings.backend == "static":
        return open_static_backend(settings.daemon_urls, token=settings.daemon_token)
    return open_local_backend(
        slots=settings.slots,
        daemons=settings.daemons,
        isolation=settings.isolation,
        daemon_options=[
            *settings.telemetry.for_daemons(),
            *(["--allow-background"] if settings.allow_background else []),
        ],
    )


async def _tools(environment: ToolExecutorSettings) -> ToolRegistry:
    """Everything there is, and what the ToolServer has."""
    await trio.lowlevel.checkpoint()
    if environment.tool_server_url is None:
        return registry_of("full")
    client = ToolServerClient(environment.tool_server_url, token=environment.tool_server_token)
    try:
        with trio.move_on_after(_ANSWER_LIMIT_S):
            return registry_of("full", tools=await client.list_tools())
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 1.0):
            await client.aclose()
    told = f"The ToolServer at {public_url(environment.tool_server_url)} did not answer"
    raise UnavailableError(f"{told} within {_ANSWER_LIMIT_S:g} s.")
