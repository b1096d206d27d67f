"""What a daemon is told: the command line, checked, as frozen data."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from attrs import frozen

from hermes_trio.errors import InvalidInputError
from sandbox_daemon.isolation.levels import Policy

MAX_SLOTS = 4096
MIN_TOKEN_LENGTH = 32
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
        network: whether a slot whose call asks for it gets the host's network.
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
    tokens: tuple[str, ...] = ()
    ready_file: Path | None = None
    isolation: Policy = Policy.REQUIRED
    network: bool = True
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
        help="required: refuse to start where the host cannot isolate (default); auto: take the best there "
        "is and say so; none: run commands as plain processes, for trusted code only",
    )
    add("--no-network", action="store_true", help="never give a slot the host's network, whatever is asked")
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
    add("--probe", action="store_true", help="print what this host can isolate, as JSON, and exit")
    add("--json", action="store_true", help="with --probe: JSON (it always is)")
    return parser


def read_config(options: argparse.Namespace, environment: Mapping[str, str]) -> DaemonConfig:
    """Check the options.

    Raises:
        InvalidInputError: an option cannot be used; the text names it.
    """
    if options.data_dir is None:
        raise InvalidInputError("is required", field="--data-dir")
    if not 1 <= options.slots <= MAX_SLOTS:
        raise InvalidInputError(f"must be between 1 and {MAX_SLOTS}, not {options.slots}", field="--slots")
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
        network=not options.no_network,
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
