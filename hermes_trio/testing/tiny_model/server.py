"""The tiny model behind the endpoint that vLLM has: chat completions with token ids and logprobs."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from itertools import count
from typing import Any

import orjson
import trio
from attrs import define, evolve, field
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hermes_trio.link.asgi import serve_asgi
from hermes_trio.link.background import open_background_nursery
from hermes_trio.testing.scripted.tokens import SampledTokens, streamed_body, with_tokens
from hermes_trio.testing.scripted.wire import (
    BadRequest,
    ScriptedRequest,
    completion_body,
    error_body,
    read_request,
)
from hermes_trio.testing.tiny_model.llama import Sampled, TinyLlama
from hermes_trio.testing.tiny_model.template import read_reply, render

DEFAULT_MAX_TOKENS = 16

MAX_REMEMBERED = 4096
"""Answers whose sampled tokens are kept; the oldest go first."""


@define(eq=False, kw_only=True)
class TinyServer:
    """One model and its answers.

    Args:
        model: samples.
        remembers: whether answers that are given back are rendered from the tokens that were sampled. If not
            they are rendered from their text, as most servers do, and the template drifts.
        weight_version: told with each answer.
    """

    model: TinyLlama
    remembers: bool = True
    weight_version: str = "0"
    _remembered: OrderedDict[str, tuple[int, ...]] = field(factory=OrderedDict, init=False)
    _numbers: count[int] = field(factory=count, init=False)
    _thread: trio.CapacityLimiter = field(factory=lambda: trio.CapacityLimiter(1), init=False)

    def app(self) -> Starlette:
        """The ASGI application."""
        return Starlette(routes=[Route("/v1/chat/completions", self._complete, methods=["POST"])])

    async def _complete(self, http: Request) -> Response:
        data = await http.body()
        try:
            request, body = read_request(data), json.loads(data)
            options = _options(body, number := next(self._numbers))
        except BadRequest as error:
            return _json(error_body(str(error)), status=400)
        prompt = render(request.messages, request.tools, self._remembered)
        sample = partial(self.model.sample, prompt, **options)
        sampled = await trio.to_thread.run_sync(sample, limiter=self._thread)
        answer = self._answer(request, prompt, sampled, number)
        if not request.stream:
            return _json(answer)
        return Response(
            streamed_body(answer, with_usage=request.stream_usage), media_type="text/event-stream"
        )

    def _answer(
        self, request: ScriptedRequest, prompt: list[int], sampled: Sampled, number: int
    ) -> Mapping[str, Any]:
        reply = read_reply(sampled.ids, request.messages, request.tools, finish_reason=sampled.finish_reason)
        plain = evolve(request, asked_tokens=frozenset())
        body = completion_body(plain, reply, completion_id=f"tiny{number}", created=0)
        tokens = SampledTokens(prompt_ids=prompt, completion_ids=sampled.ids, logprobs=sampled.logprobs)
        self._remember(body, sampled)
        body["metadata"] = {"weight_version": self.weight_version}
        return with_tokens(body, request.asked_tokens, tokens)

    def _remember(self, body: Mapping[str, Any], sampled: Sampled) -> None:
        for call in body["choices"][0]["message"].get("tool_calls") or ():
            if self.remembers:
                self._remembered[call["id"]] = sampled.ids
        while len(self._remembered) > MAX_REMEMBERED:
            self._remembered.popitem(last=False)


def _options(body: Mapping[str, Any], number: int) -> dict[str, Any]:
    max_tokens, temperature = body.get("max_tokens"), body.get("temperature")
    seed = body.get("seed")
    if not isinstance(max_tokens, int | None) or not isinstance(temperature, int | float | None):
        raise BadRequest("'max_tokens' and 'temperature' must be numbers")
    return {
        "max_tokens": DEFAULT_MAX_TOKENS if max_tokens is None else max_tokens,
        "temperature": 1.0 if temperature is None else temperature,
        "seed": number if seed is None else seed,
    }


def _json(body: object, *, status: int = 200) -> Response:
    return Response(orjson.dumps(body), status_code=status, media_type="application/json")


@asynccontextmanager
async def open_tiny_model(
    model: TinyLlama, *, remembers: bool = True, weight_version: str = "0"
) -> AsyncIterator[str]:
    """The base URL of a server of the model, until the end of the block.

    Cancellation: *shielded, at most 10 s*: a completion that is being sampled is sampled to its end.
    """
    server = TinyServer(model=model, remembers=remembers, weight_version=weight_version)
    async with open_background_nursery() as nursery:
        url: str = await nursery.start(partial(serve_asgi, server.app(), path="/v1"))
        yield url
