"""PURE. What was answered to requests that carry an ``Idempotency-Key``: each runs once.

A key is bound to the request that first used it. While that one runs, another with the same key is a
conflict; afterwards it is given the same answer; with a different body it is an error. An answer whose client
had left is remembered like any other: whoever asks again learns how it ended, and nothing is run again.

Bounded in entries, in bytes and in time; the oldest go first, and a key that has gone is a new key.

Source: draft-ietf-httpapi-idempotency-key-header-07.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Final

from attrs import define

MAX_KEY_CHARS: Final = 256


@define
class Remembered:
    """A key in use. ``answer`` is ``None`` while its request runs."""

    digest: bytes
    until_s: float
    answer: bytes | None = None


class Conflict(Exception):
    """The request may not run. ``running``: one with this key does; otherwise it is another request's key."""

    def __init__(self, *, running: bool) -> None:
        super().__init__("running" if running else "other request")
        self.running = running


class IdempotencyKeys:
    """The keys that are known now.

    Args:
        max_entries: keys remembered.
        max_bytes: of their answers together.
        keep_s: seconds a key is remembered.
    """

    def __init__(
        self, *, max_entries: int = 4096, max_bytes: int = 64 * 1024 * 1024, keep_s: float = 3600.0
    ) -> None:
        self._max_entries, self._max_bytes, self._keep_s = max_entries, max_bytes, keep_s
        self._known: OrderedDict[str, Remembered] = OrderedDict()
        self._bytes = 0

    def __repr__(self) -> str:
        return f"<IdempotencyKeys {len(self._known)} keys, {self._bytes} bytes>"

    def begin(self, key: str, body: bytes, *, now: float) -> bytes | None:
        """A request with this key came in.

        Returns:
            The answer that it was given before; ``None``: it may run, and :meth:`finish` or :meth:`forget`
            is to be called.

        Raises:
            Conflict: it may not.
        """
        self._expire(now)
        digest = hashlib.sha256(body).digest()
        known = self._known.get(key)
        if known is None:
            self._known[key] = Remembered(digest, now + self._keep_s)
            self._trim()
            return None
        if known.digest != digest:
            raise Conflict(running=False)
        if known.answer is None:
            raise Conflict(running=True)
        return known.answer

    def finish(self, key: str, answer: bytes) -> None:
        """Its request was answered."""
        known = self._known.get(key)
        if known is not None and known.answer is None:
            known.answer = answer
            self._bytes += len(answer)
            self._trim()

    def forget(self, key: str) -> None:
        """Its request has not run: the key is free."""
        self._drop(key)

    def _expire(self, now: float) -> None:
        while self._known and next(iter(self._known.values())).until_s <= now:
            self._drop(next(iter(self._known)))

    def _trim(self) -> None:
        while len(self._known) > self._max_entries or self._bytes > self._max_bytes:
            self._drop(next(iter(self._known)))

    def _drop(self, key: str) -> None:
        known = self._known.pop(key, None)
        if known is not None and known.answer is not None:
            self._bytes -= len(known.answer)
