"""One table entry for each operation: its route, its handler, and what the OpenAPI document says."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from attrs import field, frozen
from starlette.requests import Request
from starlette.responses import Response

Handler = Callable[[Request], Awaitable[Response]]


@frozen(kw_only=True)
class Parameter:
    """A query parameter or a header.

    Args:
        name: its name.
        where: ``query`` or ``header``.
        schema: JSON schema of its value.
        description: one sentence.
        required: it must be there.
        example: of its value; ``None``: none is told.
    """

    name: str
    where: str
    schema: Mapping[str, Any]
    description: str
    required: bool = False
    example: str | None = None


@frozen(kw_only=True)
class Endpoint:
    """One operation.

    Args:
        method: HTTP's.
        path: of the route.
        name: unique; the operation's id.
        summary: one sentence.
        handle: answers a request; what it raises of ours becomes a problem.
        request: class of the JSON body; ``None``: there is none.
        example: of the body.
        response: class of the JSON answer; ``None``: see ``media``.
        response_example: of the answer.
        media: further media types of the answer, and what they are.
        successes: further statuses of success, with the same media types, and what they mean.
        upload: the body is bytes of this media type; ``None``: it is none.
        parameters: query and headers.
        statuses: refusals that it knows beyond 401, 403 and 422.
        secured: wants the token, where there is one.
        tag: in the document.
    """

    method: str
    path: str
    name: str
    summary: str
    handle: Handler
    request: type | None = None
    example: Mapping[str, Any] | None = None
    response: type | None = None
    response_example: Any = None
    media: Mapping[str, str] = field(factory=dict)
    successes: Mapping[int, str] = field(factory=dict)
    upload: str | None = None
    parameters: tuple[Parameter, ...] = ()
    statuses: tuple[int, ...] = ()
    secured: bool = True
    tag: str = "calls"
