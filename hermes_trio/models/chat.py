"""One client for every OpenAI-compatible server: vLLM, SGLang, llama.cpp, OpenRouter, OpenAI.

There are no hidden limits: how long an answer may take is the caller's cancel scope, and leaving it
closes the request's connection, which is how a server learns to stop generating.
"""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self

import httpx
import trio

from hermes_trio.models.completion import ChatCompletion, MalformedCompletion, error_text, read_completion
from hermes_trio.models.errors import (
    ModelConnectionError,
    ModelError,
    ModelResponseError,
    ModelStatusError,
    ModelUnreachableError,
    one_line,
)
from hermes_trio.models.request import (
    checked_api_key,
    completions_url,
    decode_body,
    is_loopback,
    public_url,
    request_body,
)
from hermes_trio.models.shards import ShardedClients

MAX_RESPONSE_BYTES = 64 * 1024 * 1024
"""A long answer with logprobs and token ids takes a few MiB; beyond this it is not an answer."""


class ChatClient:
    """Asks one model server. Any number of tasks may ask at once.

    Use it as ``async with ChatClient(...) as client``, or call :meth:`aclose`.

    Args:
        base_url: as people write it; see :func:`hermes_trio.models.request.completions_url`.
        api_key: sent as a bearer token; ``None`` sends none. It is in no text, repr or log.
        model: the model's name there; ``None`` leaves it to servers that have only one.
        connect_timeout: seconds until a connection attempt is given up.
        max_response_bytes: a longer answer is refused.

    Raises:
        InvalidInputError: the URL or the key cannot be used.
    """

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        model: str | None = None,
        connect_timeout: float = 10.0,
        max_response_bytes: int = MAX_RESPONSE_BYTES,
    ) -> None:
        self.model = model
        self._post_url = completions_url(base_url)
        self.url = public_url(self._post_url)
        self._key = checked_api_key(api_key)
        self._max_response_bytes = max_response_bytes
        trusted = not is_loopback(self._post_url)
        self._clients = ShardedClients(connect_timeout=connect_timeout, trust_environment=trusted)

    @property
    def in_flight(self) -> int:
        """Requests under way now."""
        return self._clients.in_flight

    async def complete(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        tool_choice: str | Mapping[str, Any] | None = None,
        temperature: float | None = 1.0,
        max_tokens: int | None = None,
        stop: str | Sequence[str] | None = None,
        seed: int | None = None,
        extra_body: Mapping[str, Any] | None = None,
    ) -> ChatCompletion:
        """Ask for one completion. Asked once: nothing is repeated here.

        Cancellation: *abandons*: the connection is closed, the client stays usable.

        Args:
            messages: the conversation, in OpenAI's format.
            tools: OpenAI function schemas; none or an empty list: not sent.
            tool_choice: ``auto``, ``none``, ``required`` or a function; ``None``: the server's default.
            temperature: ``None``: the server's default.
            max_tokens: most tokens to generate; ``None``: the server's default.
            stop: texts at which generation ends.
            seed: for sampling, where the server knows how.
            extra_body: further members of the request's body.

        Returns:
            The first choice, with everything the server sent in ``raw``.

        Raises:
            ModelError: one of its family, see :mod:`hermes_trio.models.errors`.
            ClosedError: the client is closed.
        """
        options = {
            "model": self.model,
            "tools": list(tools) if tools else None,
            "tool_choice": tool_choice,
            "temperature": temperature,
            "max_tokens": max_tokens,
            "stop": stop,
            "seed": seed,
        }
        body = request_body(messages, options=options, extra_body=extra_body)
        started = trio.current_time()
        answer = await self._post(body)
        return self._read(answer, latency_s=trio.current_time() - started)

    async def _post(self, body: bytes) -> bytes:
        try:
            with self._clients.lend() as client:
                async with client.stream(
                    "POST", self._post_url, content=body, headers=self._headers()
                ) as response:
                    return await self._receive(response)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._mapped(error) from error

    def _headers(self) -> dict[str, str]:
        # Uncompressed: a bound on bytes read is then a bound on memory.
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        return headers | ({"Authorization": f"Bearer {self._key}"} if self._key else {})

    async def _receive(self, response: httpx.Response) -> bytes:
        data = await self._receive_bounded(response)
        if len(data) > self._max_response_bytes:
            raise self._malformed(f"it sent more than {self._max_response_bytes} bytes")
        if response.status_code != httpx.codes.OK:
            raise self._refused(response, data)
        return data

    async def _receive_bounded(self, response: httpx.Response) -> bytes:
        """The body, or what came until it was longer than it may be."""
        data = bytearray()
        # httpx reads through a chain of async generators, which Trio reports as leaked when the loop over
        # them is left early; an exception from below unwinds them all, and cancelling is one.
        with trio.CancelScope() as scope:
            async for chunk in response.aiter_raw():
                data += chunk
                if len(data) > self._max_response_bytes:
                    scope.cancel()
        return bytes(data)

    def _read(self, answer: bytes, *, latency_s: float) -> ChatCompletion:
        try:
            return read_completion(decode_body(answer), latency_s=latency_s)
        except ValueError as error:
            raise self._malformed("it is not JSON") from error
        except MalformedCompletion as error:
            raise self._malformed(str(error)) from error

    def _malformed(self, problem: str) -> ModelError:
        return ModelResponseError(one_line(problem, secret=self._key), url=self.url)

    def _refused(self, response: httpx.Response, body: bytes) -> ModelError:
        try:
            told = error_text(decode_body(body))
        except ValueError:
            told = ""
        return ModelStatusError(
            response.status_code,
            one_line(told, secret=self._key),
            url=self.url,
            retry_after=response.headers.get("retry-after"),
        )

    def _mapped(self, error: Exception) -> ModelError:
        reason = one_line(_reason(error), secret=self._key).rstrip(".")
        match error:
            case httpx.ConnectError() | httpx.ConnectTimeout() | httpx.ProxyError() | httpx.InvalidURL():
                return ModelUnreachableError(reason, url=self.url)
            case _:
                return ModelConnectionError(reason, url=self.url)

    async def aclose(self) -> None:
        """Close every connection; idempotent.

        Cancellation: *shielded, at most 2 s*.
        """
        await self._clients.aclose()

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
        shards = self._clients.shards
        return f"<ChatClient {self.url} model={self.model!r} {self.in_flight} in flight, {shards} shards>"


def _reason(error: BaseException) -> str:
    """The operating system's words when it has any, else the library's."""
    if isinstance(error, httpx.ConnectTimeout):
        return "no connection within the connect timeout"
    told = (_system_words(cause) for cause in _causes(error) if isinstance(cause, OSError))
    return next((text for text in told if text), str(error) or type(error).__name__)


def _system_words(error: OSError) -> str:
    # Trio puts the address into strerror; only the resolver's errors, which have no errno, need theirs.
    words = error.strerror if isinstance(error, socket.gaierror) else error.errno and os.strerror(error.errno)
    return (words or "").lower()


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and all that led to it. Trio groups one error for each address that it tried."""
    yield error
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _causes(inner)
    cause = error.__cause__ or error.__context__
    if cause is not None:
        yield from _causes(cause)


@asynccontextmanager
async def open_chat_client(
    base_url: str, *, api_key: str | None = None, model: str | None = None, connect_timeout: float = 10.0
) -> AsyncIterator[ChatClient]:
    """A :class:`ChatClient` that is closed at the end of the block.

    Cancellation: *shielded, at most 2 s* while closing; entering does no I/O.
    """
    async with ChatClient(base_url, api_key=api_key, model=model, connect_timeout=connect_timeout) as client:
        yield client
