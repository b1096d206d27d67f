"""The websocket link, over a real socket on loopback, against the shipped suite."""

from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio

from hermes_trio.link.auth import TokenGate
from hermes_trio.link.serve import serve_websocket_links
from hermes_trio.link.websocket import open_websocket_link
from hermes_trio.testing.link_conformance import CLOSE_TIMEOUT_S, LINK_CHECKS

TOKEN = "conformance"


@asynccontextmanager
async def open_client_and_server(*, max_message_bytes=4 * 1024 * 1024):
    """Near is the client, far the server's end of the same websocket."""
    arrived, links = trio.open_memory_channel(1)
    over = trio.Event()

    async def keep(link, peer):
        await arrived.send(link)
        await over.wait()

    async with trio.open_nursery() as nursery:
        serve = partial(
            serve_websocket_links,
            keep,
            host="127.0.0.1",
            port=0,
            check_token=TokenGate([TOKEN]),
            health=dict,
            max_message_bytes=max_message_bytes,
            max_connections=4,
            close_timeout=CLOSE_TIMEOUT_S,
        )
        port = await nursery.start(serve)
        async with open_websocket_link(
            f"ws://127.0.0.1:{port}",
            token=TOKEN,
            max_message_bytes=max_message_bytes,
            connect_timeout=5,
            close_timeout=CLOSE_TIMEOUT_S,
        ) as client:
            yield client, await links.receive()
            over.set()
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def open_server_and_client(**options):
    """The same with the roles swapped: only one side of a websocket masks, and only one closes TCP first."""
    async with open_client_and_server(**options) as (client, server):
        yield server, client


@pytest.mark.slow
@pytest.mark.parametrize("open_pair", [open_client_and_server, open_server_and_client])
@pytest.mark.parametrize("check", LINK_CHECKS, ids=lambda check: check.__name__)
async def test_websocket_link_keeps_the_contract(check, open_pair):
    """One check of the shipped suite, from one side."""
    with trio.fail_after(30):
        await check(open_pair)
