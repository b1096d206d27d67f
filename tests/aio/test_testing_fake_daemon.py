"""The fake daemon keeps the promises of the real one."""

from __future__ import annotations

import pytest
import trio.testing

from hermes_trio.executor.config import ExecutorConfig
from hermes_trio.executor.executor import open_executor
from hermes_trio.testing.daemon_conformance import DAEMON_CHECKS, SLOTS, DaemonCheck
from hermes_trio.testing.fake_daemon import FakeDaemon
from hermes_trio.testing.memory_backend import MemoryBackend
from hermes_trio.tools.registry import registry_of


@pytest.mark.parametrize("check", DAEMON_CHECKS, ids=lambda check: check.__name__)
async def test_the_fake_daemon_conforms(check: DaemonCheck, autojump_clock: trio.testing.MockClock) -> None:
    """One check of the suite that the real daemon passes too."""
    daemon = FakeDaemon(slots=SLOTS)
    backend = MemoryBackend({"fake": daemon})
    async with open_executor(backend, config=ExecutorConfig(), tools=registry_of("full")) as executor:
        await check(executor)
    assert daemon.free == SLOTS
