"""From an answer's bytes to a completion that says how long it took."""

from __future__ import annotations

from typing import Any

import trio
from attrs import evolve, frozen

from hermes_trio.models.completion import ChatCompletion, MalformedCompletion, read_completion
from hermes_trio.models.pool import OpenCall
from hermes_trio.models.request import decode_body
from hermes_trio.models.server import Answer
from hermes_trio.models.statistics import CallCounts


@frozen(kw_only=True)
class Asked:
    """A call that is being answered, and where it is counted.

    Args:
        call: whose answer comes in.
        started: when it was asked for, on Trio's clock.
        counts: of the client.
    """

    call: OpenCall
    started: float
    counts: CallCounts

    @property
    def answer(self) -> Answer:
        """What comes in."""
        return self.call.answer

    def read(self, data: bytes) -> ChatCompletion:
        """The completion in the bytes of a whole answer."""
        try:
            body = decode_body(data)
        except ValueError as error:
            raise self.call.server.malformed("it is not JSON") from error
        return self.complete(body)

    def complete(self, body: Any) -> ChatCompletion:
        """The completion in a whole answer, timed and counted."""
        try:
            completion = read_completion(body)
        except MalformedCompletion as error:
            raise self.call.server.malformed(str(error)) from error
        self.call.server.check_text(completion.text_chars)
        completion = evolve(
            completion,
            latency_s=trio.current_time() - self.started,
            queue_s=self.call.asked_at - self.started,
            attempts=self.call.attempt,
            server=self.call.server.url,
        )
        self.counts.add(completion)
        return completion
