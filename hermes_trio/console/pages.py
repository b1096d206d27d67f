"""The page and its parts over HTTP, with a policy that lets it load nothing but itself."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Final

import trio
from starlette.requests import Request
from starlette.responses import Response

_TYPES: Final[Mapping[str, str]] = {
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
}
_NONCE: Final = "{{nonce}}"

_HEADERS: Final[Mapping[str, str]] = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


def policy(nonce: str) -> str:
    """The content security policy of one load of the page.

    ``wasm-unsafe-eval`` is the player's: its terminal is compiled to WebAssembly. Style elements need the
    nonce: xterm.js makes some. ``data:`` images are the player's icons.
    """
    return "; ".join(
        [
            "default-src 'none'",
            "script-src 'self' 'wasm-unsafe-eval'",
            f"style-src 'self' 'nonce-{nonce}'",
            "img-src 'self' data:",
            "font-src 'self' data:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    )


@cache
def page_files() -> Mapping[str, bytes]:
    """What was built from ``web/``, by name."""
    folder = files("hermes_trio.console") / "page"
    return {each.name: each.read_bytes() for each in folder.iterdir() if each.is_file()}


async def serve_page(_request: Request) -> Response:
    """The page itself. It needs no token: it asks for one. Cancellation: atomic."""
    await trio.lowlevel.checkpoint()
    nonce = secrets.token_urlsafe(16)
    body = page_files()["index.html"].replace(_NONCE.encode(), nonce.encode())
    return Response(
        body,
        media_type=_TYPES["html"],
        headers={**_HEADERS, "Content-Security-Policy": policy(nonce)},
    )


async def serve_part(request: Request) -> Response:
    """A script or a style sheet. Cancellation: atomic."""
    await trio.lowlevel.checkpoint()
    name = request.path_params["name"]
    body = page_files().get(name)
    kind = name.rpartition(".")[2]
    if body is None or kind not in _TYPES or name == "index.html":
        return Response("Not Found", status_code=404, media_type="text/plain")
    return Response(body, media_type=_TYPES[kind], headers=_HEADERS)
