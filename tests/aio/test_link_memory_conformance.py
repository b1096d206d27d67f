"""The in-memory twin against the suite that the websocket link has to pass."""

import random
from contextlib import asynccontextmanager

import pytest
import trio

from hermes_trio.errors import BrokenLinkError
from hermes_trio.testing.faulty_link import Faults, FaultyLink
from hermes_trio.testing.link_conformance import LINK_CHECKS
from hermes_trio.testing.links import open_memory_links


@asynccontextmanager
async def open_pair(*, max_message_bytes=4 * 1024 * 1024):
    """Both ends, closed in the end."""
    near, far = open_memory_links(max_message_bytes=max_message_bytes)
    async with near, far:
        yield near, far


@pytest.mark.parametrize("check", LINK_CHECKS, ids=lambda check: check.__name__)
async def test_memory_link_keeps_the_contract(check, autojump_clock):
    """One check of the shipped suite."""
    with trio.fail_after(60):  # on the virtual clock: a check that hangs fails at once
        await check(open_pair)


@asynccontextmanager
async def open_lucky_pair(*, max_message_bytes=4 * 1024 * 1024):
    """The faulty link, on a day without faults."""
    async with open_pair(max_message_bytes=max_message_bytes) as (near, far):
        yield FaultyLink(near, faults=Faults(), dice=random.Random(1)), far


@pytest.mark.parametrize("check", LINK_CHECKS, ids=lambda check: check.__name__)
async def test_a_faulty_link_without_faults_keeps_the_contract(check, autojump_clock):
    """What it breaks it breaks on purpose only."""
    with trio.fail_after(60):
        await check(open_lucky_pair)


async def test_breaking_the_wire_loses_what_was_on_the_way():
    """Unlike an orderly close."""
    near, far = open_memory_links()
    await near.send_message(b"lost")
    near.break_link("somebody tripped over the cable")
    for operation in (far.receive_message, near.receive_message, lambda: near.send_message(b"x")):
        with pytest.raises(BrokenLinkError, match="tripped over the cable"):
            await operation()
    await near.aclose()
    await far.aclose()


async def test_breaking_the_wire_wakes_those_who_wait():
    """Both the receiver at the far end and the sender that found no room."""
    near, far = open_memory_links(buffered_messages=0)

    async def expect_broken(act, *args):
        with pytest.raises(BrokenLinkError):
            await act(*args)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(expect_broken, near.receive_message)
        nursery.start_soon(expect_broken, near.send_message, b"nobody takes this")
        await trio.testing.wait_all_tasks_blocked()
        far.break_link()


async def test_repr_says_the_state():
    """Operators read it."""
    near, far = open_memory_links()
    assert repr(near) == "<MemoryLink memory:near open>"
    await near.aclose()
    assert repr(near) == "<MemoryLink memory:near closed>"
    await far.aclose()


async def test_repr_of_a_torn_link_says_so(autojump_clock):
    """So that whoever looks at a stuck run sees why nothing moves."""
    near, _far = open_memory_links(buffered_messages=0)
    with trio.move_on_after(1):
        await near.send_message(b"nobody takes this")
    assert repr(near) == "<MemoryLink memory:near torn>"
    await near.aclose()
