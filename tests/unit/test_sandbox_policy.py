"""From what a slot shall be to the command line that makes it so."""

from __future__ import annotations

import json

import pytest
from attrs import evolve

from sandbox_daemon.agent import protocol
from sandbox_daemon.isolation import suite
from sandbox_daemon.isolation.hierarchies import Bounds
from sandbox_daemon.isolation.host import SystemLayout
from sandbox_daemon.isolation.levels import Isolation, Level, Missing, as_json, cuts_network
from sandbox_daemon.isolation.policy import (
    Bind,
    Device,
    Launch,
    LayerSource,
    Mount,
    Overlay,
    SlotLimits,
    bounds,
    command_line,
    configuration,
    overlay_of,
    parts,
    root_inside,
    stage,
    sweep_mode,
)

LAUNCH = Launch(
    level=Level.NS,
    workspace="/data/slots/slot_0/workspace",
    etc="/data/etc",
    etc_binds=("ssl/certs",),
    layout=SystemLayout(links=(("/bin", "usr/bin"),), folders=("/lib64",)),
    interpreter="/usr/bin/python3",
    bwrap="/usr/bin/bwrap",
    uid=70_003,
    seccomp=True,
)


def line(launch: Launch) -> list[str]:
    """Its command line."""
    return command_line(launch, code_fd=11, socket_fd=12)


def pairs(launch: Launch) -> str:
    """The command line as one text, for looking at neighbours."""
    return " ".join(word for word in line(launch) if "\n" not in word)


def test_the_agent_is_pid_1_of_every_namespace_there_is() -> None:
    """And is told its two descriptors."""
    text = pairs(LAUNCH)
    for name in ("user", "pid", "ipc", "uts", "net"):
        assert f"--unshare-{name} " in text
    assert "--unshare-cgroup-try" in text
    assert "--as-pid-1" in text
    assert "--disable-userns" in text
    assert "--new-session" in text
    assert "--clearenv" in text
    assert line(LAUNCH)[-2:] == ["11", "12"]


def test_die_with_parent_is_never_used() -> None:
    """It is bound to the thread that forked: every command would end after ten seconds."""
    assert "--die-with-parent" not in line(LAUNCH)


def test_the_network_stays_only_when_it_may() -> None:
    """One argument."""
    assert "--unshare-net" not in line(evolve(LAUNCH, network=True))


def test_only_the_workspace_is_writable() -> None:
    """The root is closed after the last mount, and temporary folders are bounded."""
    text = pairs(LAUNCH)
    assert text.count(" --bind ") == 1
    assert "--bind /data/slots/slot_0/workspace /workspace --remount-ro / --chdir /workspace --" in text
    assert "--perms 1777 --size 268435456 --tmpfs /tmp" in text
    assert "--ro-bind /data/etc /etc --ro-bind /etc/ssl/certs /etc/ssl/certs" in text
    assert "--symlink usr/bin /bin" in text
    assert "--ro-bind /lib64 /lib64" in text


def test_without_a_bound_temporary_folders_are_the_hosts_default() -> None:
    """0 leaves it to the host."""
    assert "--size" not in line(evolve(LAUNCH, limits=SlotLimits(tmp_bytes=0)))


@pytest.mark.parametrize(
    ("memory_bytes", "tmp_bytes", "size"), [(1 << 30, 1 << 30, 1 << 28), (1 << 30, 4096, 4096), (0, 1, 1)]
)
def test_temporary_folders_never_fill_the_memory(memory_bytes: int, tmp_bytes: int, size: int) -> None:
    """They count as memory: a slot full of files could not even run ``rm``."""
    limits = SlotLimits(memory_bytes=memory_bytes, tmp_bytes=tmp_bytes)
    assert pairs(evolve(LAUNCH, limits=limits)).count(f" --size {size} --tmpfs ") == 2


@pytest.mark.parametrize(
    ("more", "mount", "workspace"),
    [
        ({"private": True}, Bind("/data/slots/slot_0", "/mnt/slot"), "/mnt/slot/workspace"),
        (
            {"device": "/dev/loop7", "workspace": "/slots/x/workspace"},
            Device("/dev/loop7", "/mnt/slot"),
            None,
        ),
    ],
)
def test_what_bubblewrap_cannot_reach_is_staged(
    more: dict[str, object], mount: Mount, workspace: str | None
) -> None:
    """Folders of a private place, and file systems on a device: mounted before it starts."""
    launch = evolve(LAUNCH, **more)
    assert stage(launch) == (Bind("/data/etc", "/mnt/etc"), mount)
    assert "--ro-bind /mnt/etc /etc --ro-bind" in pairs(launch)
    assert f"--bind {workspace or '/mnt/slot/slots/x/workspace'} /workspace" in pairs(launch)
    assert stage(LAUNCH) == ()


def test_a_workspace_on_layers_is_an_overlay_of_all_its_devices() -> None:
    """Layers read-only and topmost first, everything through the slot's map of owners."""
    layers = (LayerSource("/dev/loop1", "/base"), LayerSource("/dev/loop2", "/slots/y/workspace"))
    launch = evolve(LAUNCH, device="/dev/loop7", workspace="/slots/x/workspace", layers=layers, idmap=5)
    devices = (
        Device("/dev/loop7", "/mnt/slot", 5),
        Device("/dev/loop1", "/mnt/0", 5, read_only=True),
        Device("/dev/loop2", "/mnt/1", 5, read_only=True),
    )
    overlay = Overlay(
        "/mnt/workspace",
        ("/mnt/1/slots/y/workspace", "/mnt/0/base"),
        "/mnt/slot/slots/x/workspace",
        "/mnt/slot/slots/x/work",
    )
    assert (parts(launch), overlay_of(launch)) == (devices, overlay)
    assert stage(launch) == (Bind("/data/etc", "/mnt/etc"), *devices, overlay)
    assert "--bind /mnt/workspace /workspace" in pairs(launch)


@pytest.mark.parametrize("level", [Level.UID, Level.NONE])
def test_below_ns_the_agent_is_run_as_it_is(level: Level) -> None:
    """Its uid and its session are given by the fork."""
    launch = evolve(LAUNCH, level=level)
    assert line(launch)[0] == "/usr/bin/python3"
    assert root_inside(launch) == LAUNCH.workspace


def test_the_sweep_is_the_strongest_the_level_has() -> None:
    """And never ``kill(-1)`` as the daemon's own uid."""
    assert sweep_mode(Level.NS, own_uid=False) == protocol.SWEEP_NAMESPACE
    assert sweep_mode(Level.UID, own_uid=True) == protocol.SWEEP_UID
    assert sweep_mode(Level.UID, own_uid=False) == protocol.SWEEP_DESCENDANTS
    assert sweep_mode(Level.NONE, own_uid=False) == protocol.SWEEP_DESCENDANTS


def configured(launch: Launch, **more: bool) -> tuple[tuple[int, ...], list[bytes]]:
    """What the agent is told first."""
    options = {"per_namespace_counts": True, **more}
    kind, _, fixed, strings = protocol.unpack(configuration(launch, machine="x86_64", **options))
    assert kind == protocol.CONFIGURE
    return fixed, strings


def test_the_agent_is_told_its_root_environment_and_limits() -> None:
    """Nothing else, and nothing secret."""
    fixed, strings = configured(LAUNCH)
    assert fixed == (protocol.SWEEP_NAMESPACE, 0, 512, 1024, 2 << 30, 1 << 30)
    assert strings[0] == b"/workspace"
    environment = protocol.unpack_environment(strings[1])
    assert environment[b"HOME"] == b"/workspace"
    assert environment[b"TMPDIR"] == b"/tmp"
    assert set(environment) == {
        b"PATH",
        b"HOME",
        b"PWD",
        b"USER",
        b"LOGNAME",
        b"SHELL",
        b"LC_CTYPE",
        b"TERM",
        b"TMPDIR",
    }


def test_processes_are_counted_only_where_the_count_is_the_slots_own() -> None:
    """A bound on the uid of a desktop session would stop the desktop."""
    shared = evolve(LAUNCH, uid=None)
    assert configured(shared)[0][2] == 512
    assert configured(shared, per_namespace_counts=False)[0][2] == 0
    assert configured(evolve(shared, level=Level.NONE))[0][2] == 0


def test_what_a_control_group_holds_no_resource_limit_holds_too() -> None:
    """Else the softer one would be met first, and nobody would count it."""
    fixed, _ = configured(LAUNCH, grouped=True, held=("pids", "memory"))
    assert (fixed[1], fixed[2], fixed[5]) == (1, 0, 0)
    assert configured(evolve(LAUNCH, level=Level.NONE))[0][5] == 0
    limits = SlotLimits(max_processes=0, memory_bytes=7, cpus=0.5)
    assert bounds(limits) == Bounds(processes=0, memory_bytes=7, cpus=0.5)
    assert bounds(SlotLimits()).processes == 513


def test_the_filter_cuts_the_network_where_no_namespace_does() -> None:
    """At level ``uid``; with the network allowed, or without seccomp, it does not."""
    lower = evolve(LAUNCH, level=Level.UID)
    cut = configured(lower)[1][2]
    assert cut != configured(evolve(lower, network=True))[1][2]
    assert configured(LAUNCH)[1][2] == configured(evolve(LAUNCH, network=True))[1][2]
    assert configured(evolve(LAUNCH, seccomp=False))[1][2] == b""
    assert protocol.unpack_environment(configured(lower)[1][1])[b"TMPDIR"] == b"/data/slots/slot_0/tmp"


@pytest.mark.parametrize(
    ("level", "seccomp", "cut"),
    [(Level.NS, False, True), (Level.UID, True, True), (Level.UID, False, False), (Level.NONE, True, False)],
)
def test_who_can_cut_the_network(level: Level, seccomp: bool, cut: bool) -> None:
    """Its results say so."""
    assert cuts_network(Isolation(level=level, mechanisms={}, seccomp=seccomp)) is cut


def test_isolation_is_told_as_json() -> None:
    """Level, mechanisms, and what is missing with the sentence that mends it."""
    missing = Missing(name="ns", why="no bwrap", mend="install it")
    told = as_json(Isolation(level=Level.UID, mechanisms={"files": "openat2"}, missing=(missing,)))
    assert json.loads(json.dumps(told)) == told
    assert told["level"] == "uid"
    assert told["mechanisms"] == {"files": "openat2"}
    assert told["missing"] == [{"name": "ns", "why": "no bwrap", "mend": "install it"}]


def test_the_suite_says_what_was_held() -> None:
    """An attempt that did not answer counts as open, a strange line as nothing."""
    script = suite.build_script(daemon_pid=4242, port=8080, interpreter="/py")
    assert "kill -0 4242" in script
    assert "/dev/tcp/127.0.0.1/8080" in script
    assert '/py -c "bytearray(' in script
    answers = suite.read_answers("shadow held\nsysctl open\nprocess count held\nnonsense held\n\n")
    assert answers["shadow"] is True
    assert answers["process count"] is True
    assert answers["sysctl"] is False
    assert answers["network"] is False
    assert "nonsense" not in answers


def test_what_must_hold_depends_on_the_level() -> None:
    """``ns`` promises all, ``none`` nothing."""
    nothing = suite.read_answers("")
    assert len(suite.breaches(Level.NS, nothing)) > len(suite.breaches(Level.UID, nothing)) > 0
    assert suite.breaches(Level.NONE, nothing) == ()
    everything = dict.fromkeys(nothing, True)
    assert suite.breaches(Level.NS, everything) == ()
    assert suite.breaches(Level.NS, {**everything, "shadow": False}) == ("shadow",)
