"""One client for every OpenAI-compatible server: vLLM, SGLang, llama.cpp, OpenRouter, OpenAI.

There are no hidden limits: how long an answer may take is the caller's cancel scope, and leaving it
closes the request's connection, which is how a server learns to stop generating.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import MappingProxyType, TracebackType
from typing import Any, Self, Unpack

import httpx
import trio
from attrs import frozen

from hermes_trio.errors import InvalidInputError
from hermes_trio.models.asked import Asked
from hermes_trio.models.completion import ChatCompletion
from hermes_trio.models.errors import ModelError
from hermes_trio.models.options import ChatOptions
from hermes_trio.models.pool import ServerPool
from hermes_trio.models.request import (
    checked_api_key,
    completions_url,
    is_loopback,
    public_url,
    request_body,
)
from hermes_trio.models.retries import RetryPolicy
from hermes_trio.models.server import ModelServer
from hermes_trio.models.shards import ShardedClients
from hermes_trio.models.statistics import CallCounts, ChatStatistics, ServerStatistics
from hermes_trio.models.stream import ChatStream

MAX_RESPONSE_BYTES = 64 * 1024 * 1024
"""A long answer with logprobs and token ids takes a few MiB; beyond this it is not an answer."""

MAX_TEXT_CHARS = 4 * 1024 * 1024
"""A million tokens. What is said is sent again with every later turn, so it is bounded more tightly."""

_STREAMED: Mapping[str, Any] = MappingProxyType({"stream": True, "stream_options": {"include_usage": True}})


class ChatClient:
    """Asks one model server, or several that serve the same weights. Any number of tasks may ask at once.

    Use it as ``async with ChatClient(...) as client``, or call :meth:`aclose`.

    Args:
        base_url: as people write it; see :func:`hermes_trio.models.request.completions_url`. Of several
            servers a trajectory keeps the one that has its prefix cached; see
            :mod:`hermes_trio.models.balance`.
        api_key: sent as a bearer token; ``None`` sends none. It is in no text, repr or log.
        model: the model's name there; ``None`` leaves it to servers that have only one.
        connect_timeout: seconds until a connection attempt is given up.
        max_response_bytes: a longer answer is refused.
        max_text_chars: of content, reasoning and arguments together; an answer with more is refused.
        retries: what is asked again, and how often; see :mod:`hermes_trio.models.retries`. ``None``: nothing.
        dice: evenly from 0 to 1, for the waits between attempts.

    Raises:
        InvalidInputError: a URL or the key cannot be used.
    """

    def __init__(
        self,
        base_url: str | Sequence[str],
        *,
        api_key: str | None = None,
        model: str | None = None,
        connect_timeout: float = 10.0,
        max_response_bytes: int = MAX_RESPONSE_BYTES,
        max_text_chars: int = MAX_TEXT_CHARS,
        retries: RetryPolicy | None = RetryPolicy(),  # noqa: B008 - frozen
        dice: Callable[[], float] = random.random,
    ) -> None:
        self.model = model
        urls = (base_url,) if isinstance(base_url, str) else tuple(base_url)
        if not urls:
            raise InvalidInputError("there is none", source="model URL")
        key = checked_api_key(api_key)
        options = {"max_response_bytes": max_response_bytes, "max_text_chars": max_text_chars}
        servers = [_server(url, key=key, connect_timeout=connect_timeout, **options) for url in urls]
        self.url = ", ".join(server.url for server in servers)
        self._pool = ServerPool(servers=servers, retries=retries, dice=dice)
        self._counts = CallCounts()

    @property
    def in_flight(self) -> int:
        """Requests under way now."""
        return sum(server.clients.in_flight for server in self._pool.servers)

    def statistics(self) -> ChatStatistics:
        """What was asked so far, and what each server does now."""
        servers = {
            server.url: ServerStatistics(
                in_flight=candidate.in_flight,
                trajectories=candidate.trajectories,
                failures=candidate.failures,
                shards=server.clients.shards,
            )
            for server, candidate in zip(self._pool.servers, self._pool.balance.candidates, strict=True)
        }
        return self._counts.statistics(in_flight=self.in_flight, retried=self._pool.retried, servers=servers)

    def for_trajectory(self, trajectory_id: str) -> TrajectoryClient:
        """The same client, whose calls all belong to one trajectory: for code that knows nothing of them."""
        return TrajectoryClient(client=self, trajectory_id=trajectory_id)

    async def complete(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        trajectory_id: str | None = None,
        **options: Unpack[ChatOptions],
    ) -> ChatCompletion:
        """Ask for one completion.

        Cancellation: *abandons*: the connection is closed, the client stays usable.

        Args:
            messages: the conversation, in OpenAI's format.
            trajectory_id: calls with the same one go to the same server while it is well.
            options: see :class:`hermes_trio.models.options.ChatOptions`.

        Returns:
            The first choice, with everything the server sent in ``raw``.

        Raises:
            ModelError: one of its family, see :mod:`hermes_trio.models.errors`, after the retries.
            ClosedError: the client is closed.
        """
        body = self._body(messages, options)
        async with self._asked(body, trajectory_id) as asked:
            return asked.read(await asked.answer.receive_all())

    @asynccontextmanager
    async def stream(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        trajectory_id: str | None = None,
        **options: Unpack[ChatOptions],
    ) -> AsyncIterator[ChatStream]:
        """Ask for one completion and read it while it is generated.

        ::

            async with client.stream(messages) as stream:
                async for delta in stream:
                    print(delta.content, end="")
            completion = stream.completion

        Nothing is asked again once the answer has begun. Leaving the block early closes the connection.

        Cancellation: *abandons*: the connection is closed, the client stays usable.

        Args:
            messages: as in :meth:`complete`, like all of them.
            trajectory_id: see there.
            options: see there.

        Raises:
            ModelError: on entering, or from the stream in the block.
            ClosedError: the client is closed.
        """
        body = self._body(messages, options, _STREAMED)
        async with self._asked(body, trajectory_id) as asked:
            yield ChatStream(asked.answer, asked.complete)

    def _body(
        self,
        messages: Sequence[Mapping[str, Any]],
        options: ChatOptions,
        more: Mapping[str, Any] = MappingProxyType({}),
    ) -> bytes:
        tools = options.get("tools")
        told = {
            "temperature": 1.0,
            "model": self.model,
            **options,
            **more,
            "tools": list(tools) if tools else None,
        }
        return request_body(messages, options=told, extra_body=told.pop("extra_body", None))

    @asynccontextmanager
    async def _asked(self, body: bytes, trajectory_id: str | None) -> AsyncIterator[Asked]:
        """One call, from asking to its end, counted."""
        started = trio.current_time()
        try:
            call = await self._pool.open(body, trajectory_id=trajectory_id)
            async with call:
                yield Asked(call=call, started=started, counts=self._counts)
        except ModelError:
            self._counts.failed += 1
            raise

    async def aclose(self) -> None:
        """Close every connection; idempotent.

        Cancellation: *shielded, at most 2 s*.
        """
        await self._pool.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        shards = sum(server.clients.shards for server in self._pool.servers)
        return f"<ChatClient {self.url} model={self.model!r} {self.in_flight} in flight, {shards} shards>"


@frozen(kw_only=True)
class TrajectoryClient:
    """A :class:`ChatClient` for one trajectory. Has nothing to close."""

    client: ChatClient
    trajectory_id: str

    async def complete(
        self, messages: Sequence[Mapping[str, Any]], **options: Unpack[ChatOptions]
    ) -> ChatCompletion:
        """See :meth:`ChatClient.complete`.

        Cancellation: *abandons*.
        """
        return await self.client.complete(messages, trajectory_id=self.trajectory_id, **options)

    def stream(
        self, messages: Sequence[Mapping[str, Any]], **options: Unpack[ChatOptions]
    ) -> AbstractAsyncContextManager[ChatStream]:
        """See :meth:`ChatClient.stream`."""
        return self.client.stream(messages, trajectory_id=self.trajectory_id, **options)


def _server(url: str, *, key: str | None, connect_timeout: float, **bounds: int) -> ModelServer:
    post_url = completions_url(url)
    clients = ShardedClients(
        connect_timeout=connect_timeout,
        is_secure=post_url.startswith("https:"),
        trust_environment=not is_loopback(post_url),
    )
    try:
        return ModelServer(post_url=post_url, url=public_url(post_url), key=key, clients=clients, **bounds)
    except httpx.InvalidURL as error:
        raise InvalidInputError(f"not a URL ({error})", source="model URL") from error


@asynccontextmanager
async def open_chat_client(
    base_url: str | Sequence[str],
    *,
    api_key: str | None = None,
    model: str | None = None,
    connect_timeout: float = 10.0,
) -> AsyncIterator[ChatClient]:
    """A :class:`ChatClient` that is closed at the end of the block.

    Cancellation: *shielded, at most 2 s* while closing; entering does no I/O.
    """
    async with ChatClient(base_url, api_key=api_key, model=model, connect_timeout=connect_timeout) as client:
        yield client
