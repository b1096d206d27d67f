"""The endpoint board, and the backend that only fills it."""

import pytest
import trio

from hermes_trio.backends import DaemonEndpoint, EndpointBoard, open_static_backend
from hermes_trio.errors import InvalidInputError
from hermes_trio.testing.checkpoints import cancel_at_every_checkpoint

ONE = DaemonEndpoint(name="one", url="ws://a:1", token="secret")
TWO = DaemonEndpoint(name="two", url="ws://b:2")


def test_only_changes_make_a_new_version():
    """Publishing the same again and withdrawing what is not there are no news."""
    board = EndpointBoard()
    board.publish(ONE)
    board.publish(ONE)
    board.withdraw("nobody")
    assert (board.snapshot.version, board.snapshot.endpoints) == (1, (ONE,))
    board.publish(TWO)
    board.withdraw("one")
    assert (board.snapshot.version, board.snapshot.endpoints) == (3, (TWO,))
    assert repr(board) == "<EndpointBoard v3: two>"


def test_a_new_address_replaces_the_old_one_under_its_name():
    """As after a restart."""
    board = EndpointBoard()
    board.publish(ONE)
    moved = DaemonEndpoint(name="one", url="ws://a:99")
    board.publish(moved)
    assert board.snapshot.endpoints == (moved,)


def test_giving_up_leaves_the_reason():
    """Until the next reason; other endpoints stay."""
    board = EndpointBoard()
    board.publish(ONE)
    board.publish(TWO)
    board.give_up("one", "it kept dying")
    assert board.snapshot.endpoints == (TWO,)
    assert board.snapshot.failure == "it kept dying"
    board.withdraw("two")
    assert board.snapshot.failure == "it kept dying"


def test_tokens_do_not_show():
    """Endpoints end up in logs."""
    assert "secret" not in repr(ONE)


async def test_waiting_returns_the_latest_state_at_once_or_when_it_comes():
    """Level triggered: what happened in between is not queued."""
    board = EndpointBoard()
    seen = []

    async def follow():
        snapshot = await board.wait_newer(board.snapshot.version)
        seen.append(snapshot)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow)
        nursery.start_soon(follow)
        await trio.testing.wait_all_tasks_blocked()
        board.publish(ONE)
        board.publish(TWO)
    assert [snapshot.version for snapshot in seen] == [2, 2]
    assert (await board.wait_newer(0)).version == 2


async def test_waiting_is_atomic():
    """A cancelled wait leaves nothing behind."""
    board = EndpointBoard()
    board.publish(ONE)
    await cancel_at_every_checkpoint(lambda: board.wait_newer(0))
    assert board.snapshot.version == 1


async def test_static_endpoints_are_there_from_the_beginning():
    """Named by their origin; any iterable of URLs will do."""
    async with open_static_backend(iter(["ws://a:1", "wss://b/x?y=z"]), token="secret") as backend:
        assert [endpoint.name for endpoint in backend.board.snapshot.endpoints] == ["ws://a:1", "wss://b:443"]
        assert {endpoint.token for endpoint in backend.board.snapshot.endpoints} == {"secret"}
        assert repr(backend) == "<static backend <EndpointBoard v2: ws://a:1, wss://b:443>>"


@pytest.mark.parametrize(
    ("urls", "token", "says"),
    [
        ([], None, "at least one"),
        (["http://a"], None, "begins with ws://"),
        (["ws://a", "ws://a:80/"], None, "listed twice"),
        (["ws://a"], "two words", "without spaces"),
    ],
)
async def test_a_bad_list_is_one_clear_line(urls, token, says):
    """Before anybody is called."""
    with pytest.raises(InvalidInputError, match=says):
        async with open_static_backend(urls, token=token):
            pytest.fail("unreachable")
