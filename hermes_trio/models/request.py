"""What is sent to a model server: its address and the body of a request. PURE."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import Any
from urllib.parse import SplitResult, urlsplit

import orjson

from hermes_trio.errors import InvalidInputError

_ROUTE = "/chat/completions"
_URL_OPTION = "model URL"


def completions_url(base_url: str) -> str:
    """The address to post to, from what people write as a base URL.

    ``http://host:8000`` becomes ``http://host:8000/v1/chat/completions``, because that is where every
    server has it; with a path of its own only ``/chat/completions`` is added, unless it is there.

    Raises:
        InvalidInputError: not an http or https URL with a host.
    """
    parts = _split(base_url.strip())
    path = parts.path.rstrip("/").removesuffix(_ROUTE)
    if not path and not parts.path.rstrip("/").endswith(_ROUTE):
        path = "/v1"
    return parts._replace(path=path + _ROUTE, fragment="").geturl()


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError as error:
        raise InvalidInputError(f"not a URL ({error})", source=_URL_OPTION) from error
    if not usable:
        raise InvalidInputError("it must look like http://host:port/v1", source=_URL_OPTION)
    return parts


def public_url(url: str) -> str:
    """The address without user, password and query: what texts and logs may show."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def is_loopback(url: str) -> bool:
    """Whether the address is this machine's own, where no proxy is ever meant."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def checked_api_key(api_key: str | None) -> str | None:
    """The key without the white space that files leave around it; ``None`` for an empty one.

    Raises:
        InvalidInputError: it cannot be sent in a header. The text does not show it.
    """
    key = (api_key or "").strip()
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise InvalidInputError("it has characters that no HTTP header can carry", source="model API key")
    return key or None


def request_body(
    messages: Sequence[Mapping[str, Any]],
    *,
    options: Mapping[str, Any],
    extra_body: Mapping[str, Any] | None = None,
) -> bytes:
    """The JSON of a chat completions request.

    Options that are ``None`` are left to the server. ``extra_body`` is merged last, at the top level, as
    the OpenAI clients do it.
    """
    body: dict[str, Any] = {"messages": list(messages)}
    body |= {name: value for name, value in options.items() if value is not None}
    return _encode(body | dict(extra_body or {}))


def _encode(body: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(body)
    except TypeError:
        # What a model said may hold lone surrogates and integers of any size, which orjson refuses.
        return json.dumps(body).encode()


def decode_body(data: bytes) -> Any:
    """The JSON of an answer.

    Raises:
        ValueError: it is not JSON.
    """
    try:
        return orjson.loads(data)
    except ValueError:
        return _decode_leniently(data)


def _decode_leniently(data: bytes) -> Any:
    try:
        return json.loads(data)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
