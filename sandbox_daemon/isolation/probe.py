"""Finding out what this host can isolate: by starting a slot at each level and attacking it.

Looking whether a program is installed says little: user namespaces may be off, a container's seccomp profile
or an AppArmor policy may refuse them, the uids may be taken. Decided once; what is found here stays in force.
"""

from __future__ import annotations

import contextlib
import os
import platform
import socket
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

import trio
from attrs import evolve

from hermes_trio.errors import HermesTrioError, UnavailableError
from hermes_trio.telemetry.log import get_logger
from hermes_trio.wire.operations import BashArguments
from sandbox_daemon.isolation import suite
from sandbox_daemon.isolation.findings import described, no_layers, no_volumes
from sandbox_daemon.isolation.host import find_bwrap, find_interpreter
from sandbox_daemon.isolation.levels import Isolation, Level, Missing, Policy
from sandbox_daemon.isolation.seccomp import build_filter
from sandbox_daemon.isolation.trial import try_overlay
from sandbox_daemon.isolation.volumes import Volume, VolumeMaker
from sandbox_daemon.slots.pool import Outcome, SlotPoolConfig, open_slot_pool

__all__ = ["Isolation", "Level", "Missing", "Policy", "probe"]

logger = get_logger(__name__)

_SUITE_LIMIT_S: Final = 20.0


async def probe(policy: str, data_dir: Path) -> Isolation:
    """The level to run at on this host under ``policy``, with what enforces it and what is missing.

    Cancellation: atomic; the throw-away slots are gone.

    Args:
        policy: a :class:`Policy` value.
        data_dir: slots are tried in a folder of their own below it; made when it is not there.

    Raises:
        UnavailableError: the policy is ``required`` and level ``ns`` does not hold here, or it is ``auto``
            and neither ``ns`` nor ``uid`` does.
    """
    asked = Policy(policy)
    found = await _first_that_holds(_levels(asked), data_dir)
    _announce(found, asked)
    return found


async def survey(data_dir: Path) -> Isolation:
    """What this host holds at best, for whoever only looks: level ``none`` where nothing else does.

    Cancellation: atomic; the throw-away slots are gone.

    Args:
        data_dir: see :func:`probe`.

    Raises:
        UnavailableError: not even level ``none`` works.
    """
    return await _first_that_holds((*_levels(Policy.AUTO), Level.NONE), data_dir)


async def _first_that_holds(levels: Iterable[Level], data_dir: Path) -> Isolation:
    _make(data_dir)
    await trio.lowlevel.checkpoint()
    missing: list[Missing] = []
    for level in levels:
        try:
            found = await _try_level(level, data_dir)
        except (HermesTrioError, OSError) as error:
            missing.append(_missing_level(level, error))
            continue
        return evolve(found, missing=(*missing, *found.missing))
    first = missing[0]
    raise UnavailableError(
        f"Isolation level {first.name} does not hold on this host: {first.why}.",
        mend=f"{first.mend} Level none, which protects nothing, has to be named: --isolation none.",
    )


def _make(data_dir: Path) -> None:
    try:
        data_dir.mkdir(mode=0o711, parents=True, exist_ok=True)
    except OSError as error:
        text = f"The data directory {data_dir} cannot be made: {error.strerror}."
        raise UnavailableError(text, mend="Choose another with --data-dir.") from error


def _levels(policy: Policy) -> Iterator[Level]:
    match policy:
        case Policy.REQUIRED:
            yield Level.NS
        case Policy.NONE:
            yield Level.NONE
        case Policy.AUTO:
            yield Level.NS
            if os.geteuid() == 0:
                yield Level.UID


def _announce(found: Isolation, policy: Policy) -> None:
    if policy is not Policy.NONE:
        for item in found.missing:
            logger.warning("isolation is not complete", lacks=item.name, reason=item.why, mend=item.mend)
    if found.level is not Level.NS and policy is not Policy.NONE:
        logger.warning("RUNNING BELOW ISOLATION LEVEL 'ns'", level=found.level.value)


async def _try_level(level: Level, data_dir: Path) -> Isolation:
    filtered = bool(build_filter(platform.machine(), sockets=True)) and level is not Level.NONE
    candidate = _candidate(level, seccomp=filtered)
    try:
        return await _attack(candidate, data_dir)
    except UnavailableError as error:
        if "seccomp" not in str(error):
            raise
    missing = Missing(
        name="seccomp",
        why="the kernel refused the filter",
        mend="Use a kernel with CONFIG_SECCOMP_FILTER, and a container profile that allows seccomp(2).",
    )
    found = await _attack(evolve(candidate, seccomp=False), data_dir)
    return evolve(found, missing=(missing, *found.missing))


def _candidate(level: Level, *, seccomp: bool) -> Isolation:
    isolated = level is not Level.NONE
    root = os.geteuid() == 0
    return Isolation(
        level=level,
        mechanisms={},
        interpreter=find_interpreter(within_usr=level is Level.NS, for_stranger=isolated and root),
        bwrap=find_bwrap() if level is Level.NS else "",
        seccomp=seccomp,
    )


async def _attack(candidate: Isolation, data_dir: Path) -> Isolation:
    """The candidate with what its slot failed to hold. ``UnavailableError`` when its level does not hold."""
    with (
        _secret_variable(),
        tempfile.TemporaryDirectory(dir=data_dir, prefix=".probe-") as folder,
        socket.create_server(("127.0.0.1", 0)) as listener,
    ):
        candidate = _with_volumes(candidate, Path(folder))
        script = suite.build_script(
            daemon_pid=os.getpid(), port=listener.getsockname()[1], interpreter=candidate.interpreter
        )
        config = SlotPoolConfig(slots=1, data_dir=Path(folder), limits=suite.LIMITS)
        async with open_slot_pool(config, candidate) as pool:
            lease = await pool.acquire(owner="probe", trajectory_id="")
            outcome = await pool.bash(lease, BashArguments(command=script), limit_s=_SUITE_LIMIT_S)
            survivors = pool.statistics().quarantined
            await pool.quiesce(lease)
            setting = pool.setting
    return described(candidate, _judge(candidate, outcome, survivors), setting)


def _with_volumes(candidate: Isolation, folder: Path) -> Isolation:
    """Volumes, when one can be made. Blocking for a tenth of a second; nothing else runs yet."""
    if candidate.level is not Level.NS or os.geteuid() != 0:
        return evolve(candidate, missing=_unmountable(candidate.level))
    try:
        maker = VolumeMaker(folder, size_bytes=suite.LIMITS.disk_bytes, max_files=suite.LIMITS.max_files)
        try:
            volume = maker.make()
            try:
                layers = _layers(candidate, volume)
            finally:
                volume.close()
        finally:
            maker.close()
    except UnavailableError as error:
        return evolve(candidate, missing=(no_volumes(str(error).removesuffix(error.mend), error.mend),))
    except OSError as error:
        return evolve(candidate, missing=(no_volumes(f"no loop device: {error.strerror}"),))
    return evolve(candidate, volumes=True, layers=not layers, missing=(*candidate.missing, *layers))


def _layers(candidate: Isolation, volume: Volume) -> tuple[Missing, ...]:
    """Nothing, when a workspace can lie on a layer here."""
    try:
        try_overlay(volume, interpreter=candidate.interpreter)
    except (OSError, UnavailableError) as error:
        return (no_layers(error.strerror or str(error) if isinstance(error, OSError) else str(error)),)
    return ()


def _unmountable(level: Level) -> tuple[Missing, ...]:
    """What a host that is not even asked for volumes misses."""
    elsewhere = "Put the data directory on a file system of its own"
    if level is Level.NS:
        return (no_volumes("only root mounts a file system per slot", f"{elsewhere}, or run as root."),)
    if level is Level.UID:
        return (no_volumes("without a mount namespace slots share the host's disk", f"{elsewhere}."),)
    return ()


@contextlib.contextmanager
def _secret_variable() -> Iterator[None]:
    """Something of the daemon's environment to look for."""
    os.environ[suite.PROBE_VARIABLE] = "a secret of the daemon"
    try:
        yield
    finally:
        del os.environ[suite.PROBE_VARIABLE]


def _judge(candidate: Isolation, outcome: Outcome, survivors: int) -> Mapping[str, bool]:
    """Which attempts were held. ``UnavailableError`` when one was not that its level promises to hold."""
    if outcome.data.get("exit_code") != 0 or survivors:
        raise UnavailableError(f"the hostile suite did not end well: {outcome.error or 'a process escaped'}")
    answers = suite.read_answers(outcome.payload.decode("utf-8", "replace"))
    breached = suite.breaches(candidate.level, answers)
    if breached:
        raise UnavailableError(f"a slot could get at: {', '.join(breached)}")
    return answers


def _missing_level(level: Level, error: Exception) -> Missing:
    mend = error.mend if isinstance(error, UnavailableError) else ""
    why = str(error).removesuffix(mend).rstrip(" .")
    return Missing(name=level.value, why=why, mend=_mend_namespaces(why) or mend)


_SWITCHES: Final = (
    ("/proc/sys/user/max_user_namespaces", "0", "sysctl -w user.max_user_namespaces=15000"),
    ("/proc/sys/kernel/unprivileged_userns_clone", "0", "sysctl -w kernel.unprivileged_userns_clone=1"),
    (
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
    ),
)


def _mend_namespaces(why: str) -> str:
    """The command that allows user namespaces, where a switch forbids them."""
    for path, forbidding, command in _SWITCHES:
        try:
            if Path(path).read_text().strip() == forbidding:
                return f"Allow user namespaces: {command}."
        except OSError:
            continue
    if "bwrap" in why or "namespace" in why:
        return "In a container: allow user namespaces (Docker: --security-opt seccomp=unconfined)."
    return ""
