"""The verb ``run``: opens everything a run needs, one inside the other, and shows what it comes to."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import trio
from attrs import define, evolve, frozen
from rich.console import Console

from hermes_trio.agents.limits import LoopLimits
from hermes_trio.backends.base import Backend
from hermes_trio.backends.local import open_local_backend
from hermes_trio.backends.static import open_static_backend
from hermes_trio.cli import EXIT_FAILED, EXIT_FINE
from hermes_trio.cli.agent_options import AgentSettings
from hermes_trio.cli.interrupt import open_interruptible
from hermes_trio.cli.model import open_model
from hermes_trio.cli.options import RunSettings, add_run_parser, read_settings
from hermes_trio.cli.show import print_summary, progress_of
from hermes_trio.cli.tools import RunTools, check_tools, open_tools
from hermes_trio.executor.config import ExecutorConfig
from hermes_trio.executor.executor import Executor, open_executor
from hermes_trio.models.chat import ChatClient
from hermes_trio.models.request import public_url
from hermes_trio.models.tokens import ASK_FOR_TOKEN_IDS
from hermes_trio.rollouts.record import TrajectoryRecord
from hermes_trio.rollouts.report import Summary, Tally
from hermes_trio.rollouts.runner import RolloutConfig, run_rollouts
from hermes_trio.rollouts.store import RunDirectory, fresh_directory, open_run_directory
from hermes_trio.rollouts.tasks import Task, read_tasks
from hermes_trio.rollouts.trajectory import AgentOptions
from hermes_trio.telemetry.options import telemetry
from hermes_trio.tools.background import with_background


def add_parser(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add the verb and its options."""
    add_run_parser(subparsers, run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run a task file, print what it came to, return the exit code.

    Raises:
        HermesTrioError: the run could not begin, or its results not be kept.
    """
    settings = read_settings(arguments)
    check_tools(settings.agent)
    tasks = read_tasks(settings.tasks)[: settings.limit]
    with telemetry(settings.telemetry, service="hermes-trio run"):
        return trio.run(_run, settings, tasks, Console(stderr=True))


@define
class _Run:
    """A run: what it counts, where it leaves it, and what it came to once it is over."""

    settings: RunSettings
    tally: Tally
    directory: RunDirectory
    summary: Summary | None = None

    def keep(self, record: TrajectoryRecord) -> None:
        """Take one finished trajectory: on disk first, then counted."""
        self.directory.append(record)
        self.tally.add(record)

    @contextmanager
    def summarised(self) -> Iterator[None]:
        """A block whose figures are on disk when it is left, in whatever way."""
        started = trio.current_time()
        try:
            yield
        finally:
            self.summary = self.tally.summary(wall_s=trio.current_time() - started)
            self.directory.write_summary(self.document(self.summary))

    def document(self, summary: Summary) -> dict[str, Any]:
        """What ``summary.json`` and ``--json`` say."""
        settings = {"model": model_label(self.settings), **self.settings.to_mapping()}
        return {**summary.to_mapping(), "out": str(self.directory.path), "settings": settings}


async def _run(settings: RunSettings, tasks: Sequence[Task], console: Console) -> int:
    await trio.lowlevel.checkpoint()
    out = settings.out or fresh_directory(Path("runs"), now=datetime.now().astimezone())
    with open_run_directory(out) as directory:
        run = _Run(settings, Tally(tasks, group_size=settings.group_size), directory)
        try:
            async with (
                open_interruptible() as interruption,
                _open_parts(settings, tasks) as parts,
            ):
                await _work(run, tasks, parts, console)
        finally:
            # Also when closing what was opened failed: the work is done, and its figures are true.
            _show(run)
    if interruption.signal_number is not None:
        return interruption.exit_code
    return EXIT_FINE if run.summary is not None and run.summary.is_all_solved else EXIT_FAILED


@frozen(kw_only=True)
class _Parts:
    """What a run works with."""

    model: ChatClient
    tools: RunTools
    executor: Executor


@asynccontextmanager
async def _open_parts(settings: RunSettings, tasks: Sequence[Task]) -> AsyncIterator[_Parts]:
    """The model first: it is the quickest to say that it is not there."""
    config = ExecutorConfig(
        allow_network=settings.allow_network,
        allow_background=settings.allow_background,
        require_sandbox=settings.isolation == "required",
        tool_server_url=settings.agent.tool_server,
        tool_server_token=settings.agent.tool_server_token,
    )
    async with (
        open_model(settings, tasks) as model,
        open_tools(settings.agent) as tools,
        _backend(settings) as backend,
        open_executor(backend, config=config, tools=tools.known) as executor,
    ):
        if settings.allow_background:
            tools = evolve(tools, offered=with_background(tools.offered))
        yield _Parts(model=model, tools=tools, executor=executor)


def _backend(settings: RunSettings) -> AbstractAsyncContextManager[Backend]:
    if settings.backend == "static":
        return open_static_backend(settings.daemon_urls, token=settings.token)
    return open_local_backend(
        slots=settings.slots,
        daemons=settings.daemons,
        isolation=settings.isolation,
        daemon_options=[
            *settings.telemetry.for_daemons(),
            *(["--allow-background"] if settings.allow_background else []),
        ],
    )


async def _work(run: _Run, tasks: Sequence[Task], parts: _Parts, console: Console) -> None:
    settings = run.settings
    config = RolloutConfig(
        group_size=settings.group_size,
        concurrency=settings.concurrency,
        agent=agent_options(settings.agent, parts.tools, seed=settings.seed),
    )
    with run.summarised(), progress_of(run.tally, console=console, quiet=settings.quiet) as show:

        def on_finished(record: TrajectoryRecord) -> None:
            run.keep(record)
            show()

        await run_rollouts(
            tasks, model=parts.model, executor=parts.executor, on_finished=on_finished, config=config
        )


def agent_options(settings: AgentSettings, tools: RunTools, *, seed: int | None) -> AgentOptions:
    """What rollouts are told of the settings."""
    limits: dict[str, Any] = {
        "trajectory_s": settings.trajectory_s,
        "turn_s": settings.turn_s,
        "call_s": settings.call_s,
        "generated_tokens": settings.max_generated_tokens,
        "tool_calls": settings.max_tool_calls,
        "parallel_calls": settings.parallel_calls,
        "observation_chars": settings.observation_chars,
    }
    body: dict[str, Any] = dict(ASK_FOR_TOKEN_IDS) if settings.token_ids else {}
    if settings.top_p is not None:
        body["top_p"] = settings.top_p
    if settings.stop:
        body["stop"] = list(settings.stop)
    return AgentOptions(
        max_turns=settings.max_turns,
        temperature=settings.temperature,
        max_tokens=settings.max_tokens,
        seed=seed,
        tools=tools.offered,
        parser=settings.parser,
        limits=LoopLimits(**{name: limit for name, limit in limits.items() if limit is not None}),
        extra_body={**body, **settings.extra_body},
    )


def _show(run: _Run) -> None:
    """Print the table, or the JSON; nothing for a run that never began."""
    if run.summary is None:
        return
    if run.settings.as_json:
        sys.stdout.write(json.dumps(run.document(run.summary), indent=2) + "\n")
    elif not run.settings.quiet:
        print_summary(run.summary, model=model_label(run.settings), out=run.directory.path, console=Console())


def model_label(settings: RunSettings) -> str:
    """What the table calls the model."""
    if settings.model_url is None:
        return f"scripted: {settings.scripted}"
    url = public_url(settings.model_url)
    return f"{settings.model_name} at {url}" if settings.model_name else url
