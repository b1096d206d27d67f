"""PURE. What one client may cost."""

from __future__ import annotations

from attrs import fields, frozen

from hermes_trio.errors import InvalidInputError


@frozen(kw_only=True)
class ApiLimits:
    """Bounds of the HTTP server; each is answered or enforced, none is only hoped for.

    Args:
        max_head_bytes: request line and headers; more is answered 431.
        head_limit_s: for all of a head, from its first byte; a slower one is cut off.
        max_body_bytes: of a JSON request; more is answered 413.
        max_bodies_bytes: of all JSON requests that are being read or answered; what is more is answered 503.
            At least ``max_body_bytes``.
        body_limit_s: for all of a JSON body; a slower one is answered 408.
        stall_limit_s: how long a client may take for 64 KiB of an answer, then it is dropped; or of a file
            that it sends, which is then answered 408.
        idle_limit_s: how long a connection may stay without a request.
        max_connections: open at once; one more is closed at once.
        max_batch: calls of one ``POST /batch``.
        max_quiet: trajectories that are kept quiet for their verifiers.
        shutdown_grace_s: how long requests under way may take once the server is asked to stop.
    """

    max_head_bytes: int = 32 * 1024
    head_limit_s: float = 10.0
    max_body_bytes: int = 16 * 1024 * 1024
    max_bodies_bytes: int = 256 * 1024 * 1024
    body_limit_s: float = 30.0
    stall_limit_s: float = 20.0
    idle_limit_s: float = 75.0
    max_connections: int = 4096
    max_batch: int = 200
    max_quiet: int = 65_536
    shutdown_grace_s: float = 10.0

    def __attrs_post_init__(self) -> None:
        for each in fields(type(self)):
            value = getattr(self, each.name)
            if not value > 0:  # also refuses NaN
                raise InvalidInputError(f"must be positive, not {value}", field=each.name)
        if self.max_bodies_bytes < self.max_body_bytes:
            raise InvalidInputError("must be at least max_body_bytes: one must fit", field="max_bodies_bytes")
