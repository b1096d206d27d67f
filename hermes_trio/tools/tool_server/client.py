"""The client of a ToolServer."""

from __future__ import annotations

from typing import Any

import httpx
import orjson
import trio

from hermes_trio.errors import InvalidInputError, Provenance, UnavailableError
from hermes_trio.telemetry import traces
from hermes_trio.telemetry.redaction import keep_secret
from hermes_trio.tools.calls import ToolCall, ToolResult
from hermes_trio.tools.schema import ToolSchema
from hermes_trio.tools.tool import ToolContext
from hermes_trio.tools.tool_server.wire import execute_body, read_result_body, read_tools_body

MAX_RESPONSE_BYTES = 16 * 1024 * 1024
"""What a tool printed, many times over; beyond this it is no answer."""

_MAX_TOLD_CHARS = 300
_IDLE_CONNECTIONS = 32


class ToolServerClient:
    """Asks a ToolServer to run calls. Any number of tasks may ask at once.

    Args:
        url: its base URL.
        token: its bearer token; ``None``: it wants none.
    """

    def __init__(self, url: str, *, token: str | None = None) -> None:
        keep_secret(token)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._url = url.rstrip("/")
        # The limit of each call is a cancel scope around it; httpx's own timeouts would only be a second,
        # different limit. Nor does a pool queue: whoever calls has a bound on calls.
        self._http = httpx.AsyncClient(
            base_url=self._url,
            headers=headers,
            timeout=None,  # noqa: S113
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=_IDLE_CONNECTIONS),
        )

    def __repr__(self) -> str:
        return f"<ToolServerClient {httpx.URL(self._url).copy_with(userinfo=b'')}>"

    async def list_tools(self) -> tuple[ToolSchema, ...]:
        """The tools there, as external ones, fit to be added to a registry.

        Cancellation: *abandons*.

        Raises:
            UnavailableError: it cannot be reached, refuses us, or answers something else.
        """
        try:
            return read_tools_body(await self._ask("GET", "/tools"))
        except InvalidInputError as error:
            raise UnavailableError(f"The ToolServer's tools cannot be read: {error}.") from error
        except httpx.HTTPError as error:
            raise UnavailableError(f"The ToolServer's tools cannot be asked for: {_words(error)}.") from error

    async def run(self, call: ToolCall, context: ToolContext) -> ToolResult:
        """Run one call there.

        Cancellation: *abandons*; the connection is closed, which tells the server.

        Args:
            call: passed on.
            context: passed on; its ``limit_s`` is kept here too.

        Returns:
            The server's result, or one that says why there is none: never raises for what a server does.
        """
        with trio.move_on_after(context.limit_s):
            return await self._run(call, context)
        return _failed(call, f"no answer within {context.limit_s} s", Provenance.LIMIT_EXCEEDED)

    async def _run(self, call: ToolCall, context: ToolContext) -> ToolResult:
        await trio.lowlevel.checkpoint()
        try:
            body = await self._ask("POST", "/execute", content=orjson.dumps(execute_body(call, context)))
            return read_result_body(body, uniq_id=call.uniq_id)
        except (httpx.HTTPError, InvalidInputError) as error:
            return _failed(call, _words(error), Provenance.UNAVAILABLE)

    async def _ask(self, method: str, path: str, *, content: bytes | None = None) -> Any:
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity", **traces.headers()}
        async with self._http.stream(method, path, content=content, headers=headers) as response:
            data = await _bounded_body(response)
        if response.status_code != httpx.codes.OK:
            raise InvalidInputError(f"it answered {response.status_code}{_detail(data)}")
        try:
            return orjson.loads(data)
        except orjson.JSONDecodeError as error:
            raise InvalidInputError(f"the answer is not JSON: {error}") from error

    async def aclose(self) -> None:
        """Close the connections.

        Cancellation: shielded, at most 1 s.
        """
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 1.0):
            await self._http.aclose()


async def _bounded_body(response: httpx.Response) -> bytes:
    data = bytearray()
    # Left by an exception from below, not early: httpx's generators are otherwise reported as leaked.
    with trio.CancelScope() as scope:
        async for chunk in response.aiter_raw():
            data += chunk
            if len(data) > MAX_RESPONSE_BYTES:
                scope.cancel()
    if len(data) > MAX_RESPONSE_BYTES:
        raise InvalidInputError(f"the answer is longer than {MAX_RESPONSE_BYTES} bytes")
    return bytes(data)


def _detail(data: bytes) -> str:
    """What a server says of an error, in FastAPI's shape or any other."""
    try:
        body = orjson.loads(data)
    except orjson.JSONDecodeError:
        return ""
    told = body.get("detail") if isinstance(body, dict) else None
    return f": {str(told)[:_MAX_TOLD_CHARS]}" if told else ""


def _words(error: Exception) -> str:
    return (str(error) or type(error).__name__)[:_MAX_TOLD_CHARS]


def _failed(call: ToolCall, why: str, provenance: Provenance) -> ToolResult:
    error = f"External tool failed: {why}"
    return ToolResult(success=False, error=error, uniq_id=call.uniq_id, provenance=provenance)
