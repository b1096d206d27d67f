"""What a daemon is told: the command line, checked, as frozen data."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from attrs import field, frozen

from hermes_trio.errors import InvalidInputError
from hermes_trio.telemetry.options import add_telemetry_options
from sandbox_daemon.isolation.levels import Policy
from sandbox_daemon.isolation.policy import SlotLimits
from sandbox_daemon.isolation.uids import DEFAULT_BASE

MAX_SLOTS = 4096
MIN_TOKEN_LENGTH = 32
MIN_DISK_BYTES = 8 << 20
MIN_MEMORY_BYTES = 32 << 20
"""Below it not even the agent and a shell come up."""
MIN_UID, MAX_UID = 1000, (1 << 32) - (1 << 20)
TOKEN_VARIABLE = "SANDBOX_DAEMON_TOKEN"  # noqa: S105 - the variable's name
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@frozen(kw_only=True)
class DaemonConfig:
    """One daemon's settings.

    Args:
        host: address to listen on; anything but loopback needs a token.
        port: 0: any free one.
        slots: workspaces offered.
        data_dir: where workspaces live; one live daemon holds it.
        tokens: bearer tokens that are accepted; two of them while one replaces the other.
        ready_file: where to say that the daemon serves; written atomically.
        isolation: what to do where the host cannot isolate.
        limits: of each slot.
        warm_slots: how many are kept ready while nobody wants them; ``None``: all.
        uid_base: where the slots' uids begin, when the daemon is root.
        network: whether a slot whose call asks for it gets the host's network.
        background: whether slots may run jobs in the background of their calls.
        max_connections: websockets open at once.
        max_calls: calls offered and not answered, for each connection.
        drain_grace_s: how long running calls may go on after SIGTERM.
        lease_grace_s: how long an executor's slots are kept for it after its link was lost.
        heartbeat_s: how often this side proves to its executors that it lives.
        dead_after_s: silence after which a link is given up.
        exit_with_stdin: stop, as by SIGTERM, when standard input ends: the parent is gone.
    """

    host: str = "127.0.0.1"
    port: int = 0
    slots: int = 8
    data_dir: Path
    tokens: tuple[str, ...] = field(default=(), repr=False)
    ready_file: Path | None = None
    isolation: Policy = Policy.REQUIRED
    limits: SlotLimits = field(factory=SlotLimits)
    warm_slots: int | None = None
    uid_base: int = DEFAULT_BASE
    network: bool = True
    background: bool = False
    max_connections: int = 1024
    max_calls: int = 4096
    drain_grace_s: float = 5.0
    lease_grace_s: float = 10.0
    heartbeat_s: float = 5.0
    dead_after_s: float = 20.0
    exit_with_stdin: bool = False


def build_parser() -> argparse.ArgumentParser:
    """The command line of ``sandbox-daemon``."""
    parser = argparse.ArgumentParser(
        prog="sandbox-daemon",
        description="Serve sandboxed slots to hermes_trio executors over a websocket.",
        epilog="Example: sandbox-daemon --slots 16 --data-dir /var/tmp/sandbox --token-file token.txt",
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (default: loopback only)")
    add("--port", type=int, default=0, help="port to listen on; 0 takes a free one (default)")
    add("--slots", type=int, default=8, help="workspaces to offer (default: 8)")
    add("--data-dir", type=Path, help="directory for the workspaces; held by one daemon at a time")
    add(
        "--token-file", type=Path, help=f"file with the bearer token, one or two lines (or ${TOKEN_VARIABLE})"
    )
    add("--ready-file", type=Path, help="written atomically, as JSON, once the daemon serves")
    add(
        "--isolation",
        type=Policy,
        choices=list(Policy),
        default=Policy.REQUIRED,
        help="required: refuse to start where the host cannot isolate (default); auto: do with a uid for "
        "each slot where that is all there is, and say so; none: plain processes, for trusted code only",
    )
    add("--no-network", action="store_true", help="never give a slot the host's network, whatever is asked")
    add(
        "--allow-background",
        action="store_true",
        help="let slots run jobs in the background of their calls, until they are given back",
    )
    _add_slot_options(parser.add_argument_group("each slot", _SLOT_HELP))
    add("--drain-grace-s", type=float, default=5.0, help="seconds running calls may finish in on SIGTERM")
    add(
        "--lease-grace-s",
        type=float,
        default=10.0,
        help="seconds an executor may be without a link before its slots are wiped and freed (default: 10)",
    )
    add("--heartbeat-s", type=float, default=5.0, help="how often to prove to executors that we live (5)")
    add("--dead-after-s", type=float, default=20.0, help="seconds of silence that end a link (20)")
    add("--exit-with-stdin", action="store_true", help="stop when standard input ends (for parents)")
    add_telemetry_options(parser, level="info")
    add("--probe", action="store_true", help="print what this host can isolate, as JSON, and exit")
    add("--json", action="store_true", help="with --probe: JSON (it always is)")
    return parser


_SLOT_HELP = "Sizes take K, M, G or T; 0 leaves a bound to the host. What this host can hold: --probe."
_DEFAULTS = SlotLimits()


def _add_slot_options(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--warm-slots", type=int, help="keep so many ready while nobody wants them (default: all)")
    add(
        "--slot-processes",
        type=int,
        default=_DEFAULTS.max_processes,
        help=f"processes and threads at once (default: {_DEFAULTS.max_processes})",
    )
    add("--slot-memory", default="1G", help="memory, with /tmp and page cache, without swap (default: 1G)")
    add("--slot-cpus", type=float, default=_DEFAULTS.cpus, help="processor time, in cores (default: 1)")
    add("--slot-disk", default="2G", help="size of the workspace's file system (default: 2G)")
    add(
        "--slot-files",
        type=int,
        default=_DEFAULTS.max_files,
        help=f"files of the workspace (default: {_DEFAULTS.max_files})",
    )
    add("--slot-output", default="4G", help="end a command that prints more (default: 4G)")
    add("--no-ptrace", action="store_true", help="no debuggers inside slots")
    add("--uid-base", type=int, default=DEFAULT_BASE, help=f"first uid for slots (default: {DEFAULT_BASE})")


_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def read_size(text: str, *, field: str) -> int:
    """Bytes. ``InvalidInputError`` for what is no size."""
    number, unit = (text[:-1], text[-1].upper()) if text[-1:].isalpha() else (text, "")
    if not number.isascii() or not number.isdigit() or unit not in _UNITS:
        raise InvalidInputError(f"must be a size like 512M or 2G, not {text!r}", field=field)
    return int(number) * _UNITS[unit]


def read_limits(options: argparse.Namespace) -> SlotLimits:
    """Check the options that bound a slot.

    Raises:
        InvalidInputError: an option cannot be used; the text names it.
    """
    for name in ("slot_processes", "slot_cpus", "slot_files"):
        value = getattr(options, name)
        if not 0 <= value < 1e9:  # also refuses NaN
            raise InvalidInputError(f"must be 0 or more, not {value}", field="--" + name.replace("_", "-"))
    disk_bytes = read_size(options.slot_disk, field="--slot-disk")
    if 0 < disk_bytes < MIN_DISK_BYTES:
        raise InvalidInputError(f"must be at least {MIN_DISK_BYTES >> 20}M, or 0", field="--slot-disk")
    memory_bytes = read_size(options.slot_memory, field="--slot-memory")
    if 0 < memory_bytes < MIN_MEMORY_BYTES:
        raise InvalidInputError(f"must be at least {MIN_MEMORY_BYTES >> 20}M, or 0", field="--slot-memory")
    return SlotLimits(
        max_processes=options.slot_processes,
        memory_bytes=memory_bytes,
        cpus=options.slot_cpus,
        disk_bytes=disk_bytes,
        max_files=options.slot_files or _DEFAULTS.max_files,
        max_drained_bytes=read_size(options.slot_output, field="--slot-output") or 1 << 62,
        ptrace=not options.no_ptrace,
    )


def read_config(options: argparse.Namespace, environment: Mapping[str, str]) -> DaemonConfig:
    """Check the options.

    Raises:
        InvalidInputError: an option cannot be used; the text names it.
    """
    if options.data_dir is None:
        raise InvalidInputError("is required", field="--data-dir")
    if not 1 <= options.slots <= MAX_SLOTS:
        raise InvalidInputError(f"must be between 1 and {MAX_SLOTS}, not {options.slots}", field="--slots")
    if options.warm_slots is not None and not 0 <= options.warm_slots <= options.slots:
        raise InvalidInputError(f"must be between 0 and {options.slots}", field="--warm-slots")
    if not MIN_UID <= options.uid_base <= MAX_UID:
        raise InvalidInputError(f"must be between {MIN_UID} and {MAX_UID}", field="--uid-base")
    if not 0 <= options.port <= 65_535:
        raise InvalidInputError(f"must be between 0 and 65535, not {options.port}", field="--port")
    for name in ("drain_grace_s", "lease_grace_s"):
        if not 0 <= getattr(options, name) <= 3600:
            raise InvalidInputError("must be between 0 and 3600", field=f"--{name.replace('_', '-')}")
    if not 0.01 <= options.heartbeat_s <= 3600:
        raise InvalidInputError("must be between 0.01 and 3600", field="--heartbeat-s")
    if not 2 * options.heartbeat_s <= options.dead_after_s <= 7200:
        raise InvalidInputError("must be at least twice --heartbeat-s, at most 7200", field="--dead-after-s")
    tokens = read_tokens(options.token_file, environment)
    if options.host not in LOOPBACK:
        raise InvalidInputError(
            f"{options.host} is not loopback, and this daemon has no TLS yet: put a TLS proxy in front of "
            "127.0.0.1 instead",
            field="--host",
        )
    return DaemonConfig(
        host=options.host,
        port=options.port,
        slots=options.slots,
        data_dir=options.data_dir.absolute(),
        tokens=tokens,
        ready_file=options.ready_file,
        isolation=options.isolation,
        limits=read_limits(options),
        warm_slots=options.warm_slots,
        uid_base=options.uid_base,
        network=not options.no_network,
        background=options.allow_background,
        drain_grace_s=options.drain_grace_s,
        lease_grace_s=options.lease_grace_s,
        heartbeat_s=options.heartbeat_s,
        dead_after_s=options.dead_after_s,
        exit_with_stdin=options.exit_with_stdin,
    )


def read_tokens(token_file: Path | None, environment: Mapping[str, str]) -> tuple[str, ...]:
    """The accepted tokens, from the file or the environment.

    Raises:
        InvalidInputError: there is none, or it is too short to be a secret. Never shows a token.
    """
    source = str(token_file) if token_file else f"${TOKEN_VARIABLE}"
    tokens = _token_text(token_file, environment).split()
    if not 1 <= len(tokens) <= 2:
        raise InvalidInputError(
            f"must hold one token, or two during rotation, not {len(tokens)}", source=source
        )
    if any(len(token) < MIN_TOKEN_LENGTH or not token.isascii() for token in tokens):
        raise InvalidInputError(f"a token has at least {MIN_TOKEN_LENGTH} ASCII characters", source=source)
    return tuple(tokens)


def _token_text(token_file: Path | None, environment: Mapping[str, str]) -> str:
    if token_file is not None:
        try:
            return token_file.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as exc:
            reason = exc.strerror if isinstance(exc, OSError) else "not text"
            raise InvalidInputError(f"cannot be read: {reason}", source=str(token_file)) from exc
    if TOKEN_VARIABLE not in environment:
        raise InvalidInputError(f"a token is needed: give --token-file or set ${TOKEN_VARIABLE}")
    return environment[TOKEN_VARIABLE]


def config_from(arguments: Sequence[str] | None = None) -> tuple[argparse.Namespace, DaemonConfig | None]:
    """Parse the command line; no config when only the probe is asked for."""
    options = build_parser().parse_args(arguments)
    return options, None if options.probe else read_config(options, os.environ)
