"""The real daemon, through the real backend and a real websocket, against the suite of the fake."""

from __future__ import annotations

import pytest

import hermes_trio as ht
from hermes_trio.testing.daemon_conformance import DAEMON_CHECKS, SLOTS, DaemonCheck
from hermes_trio.tools.registry import registry_of


@pytest.mark.slow
@pytest.mark.parametrize("check", DAEMON_CHECKS, ids=lambda check: check.__name__)
async def test_the_real_daemon_conforms(check: DaemonCheck) -> None:
    """One check of the suite, at the best level of isolation this host has."""
    async with (
        ht.open_local_backend(slots=SLOTS, isolation="auto") as backend,
        ht.open_executor(backend, tools=registry_of("full")) as executor,
    ):
        await check(executor)
