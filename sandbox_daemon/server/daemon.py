"""One daemon: probe the host, open the slots, serve executors, drain."""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import trio

from hermes_trio.link.auth import TokenGate
from hermes_trio.link.message import MessageLink
from hermes_trio.link.pump import PumpConfig
from hermes_trio.link.serve import serve_websocket_links
from hermes_trio.telemetry.log import get_logger
from hermes_trio.wire.frames import Epoch, Limits
from sandbox_daemon.config import DaemonConfig
from sandbox_daemon.isolation.levels import as_json
from sandbox_daemon.isolation.probe import Isolation, probe
from sandbox_daemon.server.admission import Admission, free_bytes
from sandbox_daemon.server.host import Host
from sandbox_daemon.server.neighbours import Neighbours
from sandbox_daemon.server.operations import OFFERED
from sandbox_daemon.server.sessions import Sessions, open_sessions
from sandbox_daemon.slots.pool import SlotPoolConfig, open_slot_pool

logger = get_logger(__name__)

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


async def run_daemon(config: DaemonConfig) -> None:
    """Serve until SIGTERM, SIGINT, or the end of standard input where that was asked for; then drain.

    Cancellation: shielded, at most 20 s (the slot pool's way out): nothing is left running.

    Raises:
        UnavailableError: the host cannot isolate as required; the text says what mends it.
        InvalidInputError: the data directory cannot be used.
        OSError: the port cannot be had.
    """
    isolation = await probe(config.isolation, config.data_dir)
    raise_file_limit()
    pool_config = SlotPoolConfig(
        slots=config.slots,
        data_dir=config.data_dir,
        network=config.network,
        uid_base=config.uid_base,
        limits=config.limits,
        warm_slots=config.warm_slots,
        background=config.background,
    )
    for number in _STOP_SIGNALS:
        # What the receiver puts back at its end: a second signal must not kill us on the way out.
        signal.signal(number, signal.SIG_IGN)
    with trio.open_signal_receiver(*_STOP_SIGNALS) as signals:
        async with open_slot_pool(pool_config, isolation) as pool:
            host = Host(
                pool=pool,
                slots=config.slots,
                epoch=Epoch(pool.epoch),
                isolation=as_json(isolation),
                limits=Limits(max_calls=config.max_calls),
                pump=PumpConfig(heartbeat_s=config.heartbeat_s, dead_after_s=config.dead_after_s),
                lease_grace_s=config.lease_grace_s,
                admission=_admission(config, isolation),
            )
            async with open_sessions(host) as sessions, trio.open_nursery() as nursery:
                port = await nursery.start(_serve, config, host, sessions, isolation)
                announce(config, port=port, epoch=host.epoch)
                if config.exit_with_stdin:
                    nursery.start_soon(_stop_with_stdin)
                async for received in signals:
                    logger.info("draining", signal=signal.Signals(received).name)
                    break
                await sessions.drain(config.drain_grace_s)
                nursery.cancel_scope.cancel()


def raise_file_limit() -> None:
    """Take all the descriptors that are allowed: three for each slot, two more for each running call."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def announce(config: DaemonConfig, *, port: int, epoch: Epoch) -> None:
    """Say that the daemon serves: one JSON line on stdout, and the ready file, which appears whole."""
    host = f"[{config.host}]" if ":" in config.host else config.host
    ready = json.dumps({"url": f"ws://{host}:{port}", "pid": os.getpid(), "epoch": epoch})
    if config.ready_file is not None:
        _write_whole(config.ready_file, ready + "\n")
    sys.stdout.write(ready + "\n")
    sys.stdout.flush()


def _admission(config: DaemonConfig, isolation: Isolation) -> Admission:
    if isolation.volumes and config.limits.disk_bytes:
        return Admission(look_at_disk=partial(free_bytes, config.data_dir))
    return Admission()


async def _serve(
    config: DaemonConfig,
    host: Host,
    sessions: Sessions,
    isolation: Isolation,
    *,
    task_status: trio.TaskStatus[int],
) -> None:
    async def serve(link: MessageLink, _peer: str) -> None:
        await sessions.serve(link)

    await serve_websocket_links(
        serve,
        host=config.host,
        port=config.port,
        check_token=TokenGate(config.tokens),
        health=lambda: health(host, sessions, isolation),
        max_message_bytes=host.limits.max_message_bytes,
        max_connections=config.max_connections,
        admit=Neighbours(host.pool.uids).admit,
        task_status=task_status,
    )


def health(host: Host, sessions: Sessions, isolation: Isolation) -> Mapping[str, Any]:
    """The body of ``GET /health``: what an orchestrator asks for, and what the host can isolate."""
    slots = host.pool.statistics()
    return {
        "status": "draining" if host.draining.is_set() else "ok",
        "slots": host.slots,
        # Clean and nobody's: what is being started is given to whoever asks, once it is.
        "available": slots.ready + slots.cold + slots.starting,
        "executing": slots.leased,
        "quarantined": slots.quarantined,
        "connections": sessions.linked,
        "sessions": len(sessions),
        "tasks": trio.lowlevel.current_statistics().tasks_living,
        "epoch": host.epoch,
        "isolation": as_json(isolation),
        "operations": list(OFFERED),
    }


async def _stop_with_stdin() -> None:
    """Turn the end of standard input into SIGTERM: whoever started us is gone."""
    async with trio.lowlevel.FdStream(os.dup(0)) as stdin:
        while await stdin.receive_some():
            pass
    os.kill(os.getpid(), signal.SIGTERM)


def _write_whole(path: Path, text: str) -> None:
    fd, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with open(fd, "w") as file:
            file.write(text)
        os.replace(temporary, path)
    except OSError:
        os.unlink(temporary)
        raise
