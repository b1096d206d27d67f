"""The backends that come with the product against the suite that ships for authors of others."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

import hermes_trio as ht
from hermes_trio.backends.base import Backend
from hermes_trio.testing.backend_conformance import BACKEND_CHECKS, SLOTS, BackendCheck, OpenBackend
from hermes_trio.testing.fake_daemon import FakeDaemon
from hermes_trio.testing.memory_backend import open_memory_backend


@asynccontextmanager
async def open_local() -> AsyncIterator[Backend]:
    """Two daemons of one slot each."""
    async with ht.open_local_backend(slots=SLOTS, daemons=2, isolation="auto") as backend:
        yield backend


@asynccontextmanager
async def open_static() -> AsyncIterator[Backend]:
    """A daemon that somebody else has started: the local backend."""
    async with ht.open_local_backend(slots=SLOTS, daemons=1, isolation="none") as local:
        endpoints = local.board.snapshot.endpoints
        urls, token = [endpoint.url for endpoint in endpoints], endpoints[0].token
        async with ht.open_static_backend(urls, token=token) as backend:
            yield backend


@asynccontextmanager
async def open_memory() -> AsyncIterator[Backend]:
    """Fakes."""
    daemons = {f"d{number}": FakeDaemon(slots=1) for number in range(SLOTS)}
    async with open_memory_backend(daemons) as backend:
        yield backend


@pytest.mark.slow
@pytest.mark.parametrize("check", BACKEND_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("open_backend", [open_local, open_static, open_memory])
async def test_backends_conform(open_backend: OpenBackend, check: BackendCheck) -> None:
    """One check, with everything opened for it alone."""
    with trio.fail_after(60):
        await check(open_backend)
