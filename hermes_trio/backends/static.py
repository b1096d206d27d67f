"""Daemons that somebody else started: addresses from a list."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import final

import trio

from hermes_trio.backends.base import Backend, DaemonEndpoint, EndpointBoard
from hermes_trio.errors import InvalidInputError
from hermes_trio.link.auth import check_token_text
from hermes_trio.link.url import parse_link_url


@final
class StaticBackend(Backend):
    """See :func:`open_static_backend`."""

    def __init__(self, board: EndpointBoard) -> None:
        self._board = board

    @property
    def name(self) -> str:
        """``static``."""
        return "static"

    @property
    def board(self) -> EndpointBoard:
        """The addresses, all there from the beginning."""
        return self._board


@asynccontextmanager
async def open_static_backend(
    urls: Iterable[str], *, token: str | None = None
) -> AsyncIterator[StaticBackend]:
    """Use daemons at known addresses. Nothing is started or stopped, and nobody is called yet.

    Cancellation: atomic.

    Args:
        urls: ``ws://`` or ``wss://`` URLs, at least one, each once.
        token: the bearer token they all accept; ``None``: none is presented.

    Yields:
        The backend.

    Raises:
        InvalidInputError: a URL or the token cannot be used, or there is no URL.
    """
    board = EndpointBoard()
    for endpoint in read_endpoints(urls, token=token):
        board.publish(endpoint)
    await trio.lowlevel.checkpoint()
    yield StaticBackend(board)


def read_endpoints(urls: Iterable[str], *, token: str | None) -> tuple[DaemonEndpoint, ...]:
    """Check a list of URLs.

    Raises:
        InvalidInputError: see :func:`open_static_backend`.
    """
    if token is not None:
        check_token_text(token)
    endpoints: dict[str, DaemonEndpoint] = {}
    for url in urls:
        origin = parse_link_url(url).origin
        if origin in endpoints:
            raise InvalidInputError("the same daemon is listed twice", source=origin)
        endpoints[origin] = DaemonEndpoint(name=origin, url=url, token=token)
    if not endpoints:
        raise InvalidInputError("give the URL of at least one sandbox daemon", field="urls")
    return tuple(endpoints.values())
