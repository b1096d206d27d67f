"""What a request is refused with: problem details (RFC 9457) whose ``detail`` is the ancestor's."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import orjson
from attrs import frozen
from starlette.responses import Response

from hermes_trio.errors import (
    BusyError,
    ClosedError,
    HermesTrioError,
    InvalidInputError,
    LostError,
    NoRoomError,
    QuietSlotError,
    SlotStateError,
)

MEDIA_TYPE = "application/problem+json"


class ProblemError(Exception):
    """A request is answered with a refusal instead of what it asked for.

    Args:
        status: HTTP's.
        detail: one sentence for a person.
        field: the member of the request that is wrong; empty where there is none.
        headers: to be sent along.
    """

    def __init__(
        self, status: int, detail: str, *, field: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.field = field
        self.headers = dict(headers or {})


@frozen(kw_only=True)
class ProblemDetails:
    """Why a request was refused (RFC 9457).

    Args:
        type: names the kind of problem; always ``about:blank``: the status says it.
        title: the status in words.
        status: HTTP's, again.
        detail: one sentence for a person.
        field: the member of the request that is wrong; empty where there is none.
    """

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    field: str = ""


def problem_response(problem: ProblemError) -> Response:
    """The answer that tells of a problem."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": _title(problem.status),
        "status": problem.status,
        "detail": problem.detail,
        "field": problem.field,
    }
    return Response(
        orjson.dumps(body), status_code=problem.status, media_type=MEDIA_TYPE, headers=problem.headers
    )


def _title(status: int) -> str:
    return HTTPStatus(status).phrase


def problem_of(error: HermesTrioError) -> ProblemError:
    """The refusal that an error of ours amounts to."""
    match error:
        case SlotStateError():
            return ProblemError(409, str(error), field=error.field)
        case InvalidInputError():
            return ProblemError(422, str(error), field=error.field)
        case LostError():
            return ProblemError(410, str(error))
        case NoRoomError():
            return ProblemError(409, str(error), headers={"retry-after": "1"})
        case QuietSlotError():
            return ProblemError(409, str(error))
        case BusyError():
            return ProblemError(503, str(error), headers={"retry-after": "1"})
        case ClosedError():
            return ProblemError(503, "the server is stopping")
        case _:
            return ProblemError(503, str(error))
