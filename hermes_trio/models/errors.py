"""What can go wrong between us and a model server. PURE.

::

    ModelError                     provenance ``model_error``: the server failed, not the policy
    ├── ModelUnreachableError      no connection came about; nothing was asked
    ├── ModelConnectionError       the connection broke before the whole answer was here
    ├── ModelStatusError           an answer with another status than 200
    └── ModelResponseError         status 200, but not a chat completion

Each text is one sentence that names the server without user, password and query. An API key is in none
of them, even where the server repeats it (:func:`one_line`).
"""

from __future__ import annotations

from http import HTTPStatus

from hermes_trio.errors import HermesTrioError

MAX_QUOTED_CHARS = 200
"""Of a server's own words in our texts."""


class ModelError(HermesTrioError):
    """A model server did not give a completion.

    Attributes:
        url: what was asked, without credentials.
        status: the HTTP status, ``None`` when there was none.
    """

    def __init__(self, message: str, *, url: str, status: int | None = None) -> None:
        super().__init__(message)
        self.url = url
        self.status = status


class ModelUnreachableError(ModelError):
    """No connection came about, so nothing was asked and asking again is safe."""

    def __init__(self, reason: str, *, url: str) -> None:
        super().__init__(f"The model server at {url} cannot be reached: {reason}.", url=url)


class ModelConnectionError(ModelError):
    """The connection broke; the server may or may not have generated an answer."""

    def __init__(self, reason: str, *, url: str) -> None:
        super().__init__(f"The model server at {url} broke the connection: {reason}.", url=url)


class ModelStatusError(ModelError):
    """The server answered with an error status (redirects count: a key must not follow them).

    Attributes:
        retry_after: the ``Retry-After`` header as it came, or ``None``.
    """

    def __init__(self, status: int, told: str = "", *, url: str, retry_after: str | None = None) -> None:
        text = f"The model server at {url} answered {status}{_phrase(status)}"
        super().__init__(f"{text}: {told}" if told else f"{text}.", url=url, status=status)
        self.retry_after = retry_after


class ModelResponseError(ModelError):
    """The server answered 200 with something that is no chat completion."""

    def __init__(self, problem: str, *, url: str) -> None:
        super().__init__(f"The model server at {url} did not answer a completion: {problem}.", url=url)
        self.status = int(HTTPStatus.OK)


def _phrase(status: int) -> str:
    try:
        return f" {HTTPStatus(status).phrase}"
    except ValueError:
        return ""


def one_line(text: str, *, secret: str | None = None) -> str:
    """A server's words, fit for one of our sentences: one line, short, without the secret."""
    if secret:
        text = text.replace(secret, "***")
    line = " ".join(text.split())
    return line if len(line) <= MAX_QUOTED_CHARS else f"{line[: MAX_QUOTED_CHARS - 1]}…"
