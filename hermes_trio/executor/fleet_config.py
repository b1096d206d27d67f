"""An executor's settings, as far as they are its fleet's."""

from __future__ import annotations

from hermes_trio.executor.config import ExecutorConfig
from hermes_trio.fleet.fleet import FleetConfig
from hermes_trio.link.pump import PumpConfig


def fleet_config(config: ExecutorConfig) -> FleetConfig:
    """How the daemons are to be reached under an executor's settings."""
    pump = PumpConfig(
        batch_window_s=config.batch_window_ms / 1000,
        max_batch_size=config.max_batch_size,
        max_queued=config.max_queued,
        heartbeat_s=config.heartbeat_s,
        dead_after_s=config.dead_after_s,
    )
    return FleetConfig(pump=pump, resume_within_s=config.resume_within_s)
