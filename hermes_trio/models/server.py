"""One model server: requests go out, answers come in piece by piece, failures get their type.

Theory of operation. An answer has its connection to itself. When the whole answer was received the
connection goes back to its pool; when it was not (a cancel, an error, a caller who has read enough)
:meth:`Answer.aclose` closes it, and that is how a server learns to stop generating.

httpx reads through a chain of async generators, which Trio reports as leaked when whoever iterates leaves
early. Cancelling what they wait for unwinds them all, so that is what :meth:`Answer.aclose` does.
"""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import suppress

import httpx
import trio
from attrs import define, field

from hermes_trio.models.completion import error_text
from hermes_trio.models.errors import (
    ModelConnectionError,
    ModelError,
    ModelResponseError,
    ModelStatusError,
    ModelUnreachableError,
    one_line,
)
from hermes_trio.models.plumbing import RequestBody, let_nothing_stay_behind
from hermes_trio.models.request import decode_body
from hermes_trio.models.shards import Shard, ShardedClients
from hermes_trio.telemetry import traces
from hermes_trio.telemetry.redaction import keep_secret

ERROR_BODY_LIMIT_S = 2.0
"""How long the words of an error status are waited for: the status is enough of an answer."""

MAX_ERROR_BODY_BYTES = 64 * 1024

CLOSE_LIMIT_S = 2.0

_USER_AGENT = "hermes-trio"


@define(eq=False, kw_only=True)
class ModelServer:
    """Made once for each address.

    Args:
        post_url: where completions are asked for.
        url: the same without credentials, for texts.
        key: bearer token, or ``None``.
        max_response_bytes: a longer answer is refused.
        max_text_chars: an answer with more text is refused.
        clients: its connections.
    """

    post_url: str = field(repr=False)
    url: str
    key: str | None = field(repr=False)
    max_response_bytes: int
    max_text_chars: int
    clients: ShardedClients
    _url: httpx.URL = field(init=False, repr=False)
    _headers: Mapping[str, str] = field(init=False, repr=False)
    _span_attributes: Mapping[str, str | int] = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        keep_secret(self.key)
        self._url = httpx.URL(self.post_url)
        self._span_attributes = {
            "http.request.method": "POST",
            "url.full": self.url,
            "server.address": self._url.host,
            "server.port": self._url.port or (443 if self._url.scheme == "https" else 80),
        }
        # Uncompressed: a bound on bytes read is then a bound on memory.
        usual = {"Accept": "*/*", "Accept-Encoding": "identity", "Content-Type": "application/json"}
        key = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        self._headers = {"Host": self._url.netloc.decode("ascii"), "User-Agent": _USER_AGENT, **usual, **key}

    async def open(self, body: bytes) -> Answer:
        """Send a request; the answer has status 200 and is to be closed.

        Cancellation: *abandons*: the connection is closed.

        Raises:
            ModelError: another status, or no answer.
            ClosedError: the client is closed.
        """
        answer = Answer(server=self, shard=self.clients.take())
        with traces.running("POST", kind=traces.SpanKind.CLIENT, attributes=self._span_attributes) as span:
            try:
                await answer.begin(body)
                span.set_attribute("http.response.status_code", answer.status)
                if answer.status != httpx.codes.OK:
                    raise await self._refusal(answer)
            except BaseException:
                await answer.aclose()
                raise
        return answer

    def request(self, body: bytes) -> httpx.Request:
        """A request with this body."""
        headers = {**self._headers, "Content-Length": str(len(body)), **traces.headers()}
        return httpx.Request("POST", self._url, headers=headers, stream=RequestBody(body))

    async def _refusal(self, answer: Answer) -> ModelError:
        told = await self._told(answer)
        return ModelStatusError(answer.status, told, url=self.url, retry_after=answer.header("retry-after"))

    async def _told(self, answer: Answer) -> str:
        """The server's words about an error status, as far as they come; it may send none, or no end."""
        data = bytearray()
        await trio.lowlevel.checkpoint()
        with suppress(ModelError), trio.move_on_after(ERROR_BODY_LIMIT_S):
            chunk = await answer.receive()
            while chunk and len(data) < MAX_ERROR_BODY_BYTES:
                data += chunk
                chunk = await answer.receive()
        try:
            return one_line(error_text(decode_body(bytes(data))), secret=self.key)
        except ValueError:
            return ""

    def malformed(self, problem: str) -> ModelError:
        """The error for a 200 that is no completion."""
        return ModelResponseError(one_line(problem, secret=self.key), url=self.url)

    def check_text(self, chars: int) -> None:
        """Refuse an answer with so much text.

        Raises:
            ModelResponseError: it is more than an answer may have.
        """
        if chars > self.max_text_chars:
            raise self.malformed(f"it sent more than {self.max_text_chars} characters of text")

    def broken(self, reason: str) -> ModelError:
        """The error for an answer that ends before its end."""
        return ModelConnectionError(reason, url=self.url)

    def mapped(self, error: Exception) -> ModelError:
        """Ours for httpx's."""
        reason = one_line(_reason(error), secret=self.key).rstrip(".")
        match error:
            case httpx.ConnectError() | httpx.ConnectTimeout() | httpx.ProxyError():
                return ModelUnreachableError(reason, url=self.url)
            case _:
                return self.broken(reason)


@define(eq=False, kw_only=True)
class Answer:
    """An answer as it comes in. Made by :meth:`ModelServer.open`."""

    server: ModelServer
    shard: Shard | None
    """Until it is given back."""
    _response: httpx.Response | None = field(default=None, init=False)
    _chunks: AsyncIterator[bytes] | None = field(default=None, init=False)
    _received: int = field(default=0, init=False)
    _is_whole: bool = field(default=False, init=False)

    @property
    def status(self) -> int:
        """The HTTP status; 0 before there is one."""
        return 0 if self._response is None else self._response.status_code

    def header(self, name: str) -> str | None:
        """A header of the answer."""
        return None if self._response is None else self._response.headers.get(name)

    async def begin(self, body: bytes) -> None:
        """Send the request and receive the head of its answer.

        Cancellation: *abandons*.
        """
        assert self.shard is not None
        try:
            self._response = await self.shard.client.send(self.server.request(body), stream=True)
        except httpx.HTTPError as error:
            raise self.server.mapped(error) from error
        assert isinstance(self._response.stream, httpx.AsyncByteStream)
        self._chunks = aiter(self._response.stream)

    async def receive(self) -> bytes:
        """What has come since, ``b""`` at the end, when the connection goes back to its pool.

        Cancellation: *poisons*: close the answer.

        Raises:
            ModelConnectionError: the connection broke.
            ModelResponseError: the answer is longer than it may be.
        """
        assert self._chunks is not None
        try:
            chunk = await anext(self._chunks, None)
        except httpx.HTTPError as error:
            raise self.server.mapped(error) from error
        if chunk is None:
            await self._finish()
            return b""
        self._received += len(chunk)
        if self._received > self.server.max_response_bytes:
            raise self.server.malformed(f"it sent more than {self.server.max_response_bytes} bytes")
        return chunk

    async def _finish(self) -> None:
        """Give the connection back to its pool, where the next request finds it."""
        assert self._response is not None
        let_nothing_stay_behind(self._response)
        await self._response.aclose()
        self._is_whole = True
        self._give_back()

    async def receive_all(self) -> bytes:
        """The rest of it.

        Cancellation: *poisons*: close the answer.
        """
        data = bytearray()
        while chunk := await self.receive():
            data += chunk
        return bytes(data)

    async def aclose(self) -> None:
        """Close the connection unless the whole answer was received; idempotent.

        Cancellation: *shielded, at most 2 s*.
        """
        try:
            with trio.move_on_after(CLOSE_LIMIT_S, shield=True):
                await trio.lowlevel.checkpoint()
                if self._response is not None and not self._is_whole:
                    await self._unwind(self._response)
        finally:
            self._give_back()

    async def _unwind(self, response: httpx.Response) -> None:
        if self._chunks is not None:
            with trio.CancelScope() as scope, suppress(httpx.HTTPError, httpx.StreamError):
                scope.cancel()
                while await anext(self._chunks, None) is not None:
                    pass  # what was read from the socket already comes without waiting
        await response.aclose()

    def _give_back(self) -> None:
        if self.shard is not None:
            self.server.clients.give_back(self.shard)
            self.shard = None


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
