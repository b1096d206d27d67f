"""PURE. What an executor can be told."""

from __future__ import annotations

from attrs import field, frozen

from hermes_trio.errors import InvalidInputError

MIN_LIMIT_S = 1.0
MAX_LIMIT_S = 600.0
"""What a model may ask for is clamped to this range: the ancestor's, which its clients rely on."""


@frozen(kw_only=True)
class ExecutorConfig:
    """Settings of an executor. All have sensible defaults.

    Args:
        batch_window_ms: how long the first call of an idle link waits for company, in milliseconds. 0: not
            at all; a busy link packs by itself.
        max_batch_size: calls packed into one message at most.
        allow_network: whether commands may use the host's network. The model cannot change it.
        require_sandbox: refuse to run a command where the daemon cannot isolate it.
        require_stateful_sandbox: the same for stateful shells.
        allow_background: whether a model may leave commands running in the background, as jobs. The daemon
            must allow it, too.
        tool_server_url: base URL of a ToolServer for external tools; ``None``: there is none.
        tool_server_token: its bearer token.
        default_limit_s: seconds a call may run when neither the caller nor the model says so.
        max_queued: calls that may wait to be sent to one daemon; more are answered ``unavailable``.
        heartbeat_s: how often each side proves that it lives.
        dead_after_s: silence after which a link is given up; at least twice ``heartbeat_s``.
        resume_within_s: how long calls wait for another link when theirs was lost; then they end as
            ``link_lost``. More than the daemon's ``lease_grace_s`` is of no use.
        kill_grace_s: how long leaving a call's scope waits for the proof that its processes are gone.
        close_grace_s: how long closing the executor waits for slots to be given back.
    """

    batch_window_ms: float = 0
    max_batch_size: int = 200
    allow_network: bool = True
    require_sandbox: bool = False
    require_stateful_sandbox: bool = False
    allow_background: bool = False
    tool_server_url: str | None = None
    tool_server_token: str | None = field(default=None, repr=False)
    default_limit_s: float = 30.0
    max_queued: int = 65_536
    heartbeat_s: float = 5.0
    dead_after_s: float = 20.0
    resume_within_s: float = 10.0
    kill_grace_s: float = 5.0
    close_grace_s: float = 10.0

    def __attrs_post_init__(self) -> None:
        for name, minimum in _MINIMA.items():
            value = getattr(self, name)
            if not value >= minimum:  # also refuses NaN
                raise InvalidInputError(f"must be at least {minimum}, not {value}", field=name)
        if self.dead_after_s < 2 * self.heartbeat_s:
            text = f"must be at least twice heartbeat_s, {self.heartbeat_s}, not {self.dead_after_s}"
            raise InvalidInputError(text, field="dead_after_s")


_MINIMA = {
    "batch_window_ms": 0,
    "max_batch_size": 1,
    "default_limit_s": 0.001,
    "max_queued": 1,
    "heartbeat_s": 0.01,
    "dead_after_s": 0.01,
    "resume_within_s": 0,
    "kill_grace_s": 0,
    "close_grace_s": 0,
}
