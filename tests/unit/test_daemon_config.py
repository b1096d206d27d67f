"""What a daemon can be told, and what it says to nonsense."""

from __future__ import annotations

import pytest

from hermes_trio.errors import InvalidInputError
from sandbox_daemon.config import DaemonConfig, build_parser, read_config, read_size
from sandbox_daemon.isolation.policy import SlotLimits

ENVIRONMENT = {"SANDBOX_DAEMON_TOKEN": "t" * 32}


def read(*arguments: str) -> DaemonConfig:
    """The configuration of a command line."""
    options = build_parser().parse_args(["--data-dir", "d", *arguments])
    return read_config(options, ENVIRONMENT)


def test_what_is_not_said_is_the_default() -> None:
    """The limits of the help are those of the code."""
    config = read()
    assert config.limits == SlotLimits()
    assert (config.warm_slots, config.uid_base) == (None, 70_000)
    assert "t" * 32 not in repr(config)


def test_every_bound_of_a_slot_can_be_set() -> None:
    """And left to the host with 0."""
    limits = read(
        *("--slot-processes", "9", "--slot-memory", "64M", "--slot-cpus", "1.5", "--slot-disk", "3G"),
        *("--slot-files", "7", "--slot-output", "5K", "--no-ptrace"),
    ).limits
    assert limits == SlotLimits(
        max_processes=9,
        memory_bytes=64 << 20,
        cpus=1.5,
        disk_bytes=3 << 30,
        max_files=7,
        max_drained_bytes=5 << 10,
        ptrace=False,
    )
    free = read(
        "--slot-processes", "0", "--slot-memory", "0", "--slot-disk", "0", "--slot-output", "0"
    ).limits
    assert (free.max_processes, free.memory_bytes, free.disk_bytes) == (0, 0, 0)
    assert free.max_drained_bytes > 1 << 60


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--slot-memory", "1Q"], "field '--slot-memory': must be a size like 512M or 2G, not '1Q'"),
        (["--slot-memory", "-1"], "field '--slot-memory': must be a size"),
        (["--slot-memory", ""], "field '--slot-memory': must be a size"),
        (["--slot-memory", "²G"], "field '--slot-memory': must be a size"),
        (["--slot-memory", "1M"], "field '--slot-memory': must be at least 32M, or 0"),
        (["--slot-disk", "1M"], "field '--slot-disk': must be at least 8M, or 0"),
        (["--slot-cpus", "nan"], "field '--slot-cpus': must be 0 or more"),
        (["--slot-processes", "-3"], "field '--slot-processes': must be 0 or more"),
        (["--warm-slots", "9"], "field '--warm-slots': must be between 0 and 8"),
        (["--uid-base", "0"], "field '--uid-base': must be between 1000 and"),
    ],
)
def test_nonsense_names_its_option(arguments: list[str], says: str) -> None:
    """In one line."""
    with pytest.raises(InvalidInputError) as caught:
        read(*arguments)
    assert says in str(caught.value)


@pytest.mark.parametrize(("text", "size"), [("0", 0), ("12", 12), ("2k", 2048), ("1T", 1 << 40)])
def test_sizes_are_powers_of_two(text: str, size: int) -> None:
    """Whatever the case of the unit."""
    assert read_size(text, field="--x") == size
