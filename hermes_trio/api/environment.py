"""PURE. The ancestor's settings, from the environment: ``TOOL_EXECUTOR_*``, with its names and defaults.

One default differs: a call waits for no batch window unless it is asked to. The ancestor's 20 ms on every
call are what this runtime is there to save; a busy link packs by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attrs import field, frozen

from hermes_trio.errors import InvalidInputError
from hermes_trio.link.auth import check_token_text

PREFIX: Final = "TOOL_EXECUTOR_"
_TRUE: Final = frozenset({"1", "true", "yes", "y", "on"})


@frozen(kw_only=True)
class ToolExecutorSettings:
    """What a server is started with.

    Args:
        nomad_address: of the ancestor's engine; only that engine reads it, and the next three.
        job_id: likewise.
        image: likewise.
        privileged: likewise.
        purge_job_on_shutdown: likewise.
        slots: workspaces of each daemon.
        min_containers: daemons to begin with.
        max_containers: daemons at most, where the engine can start more.
        acquire_timeout_s: how long the first call of a trajectory waits for a slot.
        batch_window_ms: how long the first call of an idle link waits for company.
        max_batch_size: calls in one message at most.
        allow_network: commands may use the network.
        tool_server_url: of a ToolServer for external tools; ``None``: there is none.
        tool_server_token: what it wants.
        token: what clients must present; ``None``: nothing.
    """

    nomad_address: str = "http://localhost:4646"
    job_id: str = "atropos-sandbox-tool-executor"
    image: str = "atropos-sandbox:local"
    privileged: bool = False
    purge_job_on_shutdown: bool = True
    slots: int = 10
    min_containers: int = 1
    max_containers: int = 10
    acquire_timeout_s: float = 30.0
    batch_window_ms: int = 0
    max_batch_size: int = 200
    allow_network: bool = True
    tool_server_url: str | None = None
    tool_server_token: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> ToolExecutorSettings:
        """Read the variables; one that is not set has its default, and so has an empty URL or token.

        Raises:
            InvalidInputError: it names the variable.
        """
        read = _Reader(environment)
        default = cls()
        return cls(
            nomad_address=read.text("NOMAD_ADDRESS", default.nomad_address),
            job_id=read.text("JOB_ID", default.job_id),
            image=read.text("IMAGE", default.image),
            privileged=read.flag("PRIVILEGED", default.privileged),
            purge_job_on_shutdown=read.flag("PURGE_JOB_ON_SHUTDOWN", default.purge_job_on_shutdown),
            slots=read.whole("SLOTS", default.slots),
            min_containers=read.whole("MIN_CONTAINERS", default.min_containers),
            max_containers=read.whole("MAX_CONTAINERS", default.max_containers),
            acquire_timeout_s=read.seconds("ACQUIRE_TIMEOUT_S", default.acquire_timeout_s),
            batch_window_ms=read.whole("BATCH_WINDOW_MS", default.batch_window_ms, least=0),
            max_batch_size=read.whole("MAX_BATCH_SIZE", default.max_batch_size),
            allow_network=read.flag("ALLOW_NETWORK", default.allow_network),
            tool_server_url=read.text("TOOL_SERVER_URL", "") or None,
            tool_server_token=read.token("TOOL_SERVER_TOKEN"),
            token=read.token("TOKEN"),
        )


@frozen
class _Reader:
    environment: Mapping[str, str] = field(repr=False)

    def text(self, name: str, default: str) -> str:
        return self.environment.get(PREFIX + name, default)

    def flag(self, name: str, default: bool) -> bool:
        told = self.environment.get(PREFIX + name)
        return default if told is None else told.strip().lower() in _TRUE

    def whole(self, name: str, default: int, *, least: int = 1) -> int:
        told = self.environment.get(PREFIX + name, str(default)).strip()
        if not (told.isascii() and told.isdecimal() and least <= int(told[:10]) and len(told) <= 9):
            raise InvalidInputError(f"must be a whole number from {least} to 999999999", source=PREFIX + name)
        return int(told)

    def seconds(self, name: str, default: float) -> float:
        told = self.environment.get(PREFIX + name, str(default))
        try:
            seconds = float(told)
        except ValueError:
            seconds = -1.0
        if not 0 < seconds <= 1e7:  # so that it is not nan either
            raise InvalidInputError("must be a number of seconds above 0", source=PREFIX + name)
        return seconds

    def token(self, name: str) -> str | None:
        """Stripped, as what clients send is."""
        told = self.environment.get(PREFIX + name, "").strip()
        try:
            return check_token_text(told) if told else None
        except InvalidInputError as error:
            raise InvalidInputError(str(error), source=PREFIX + name) from None
