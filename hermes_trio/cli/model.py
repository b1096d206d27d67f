"""The model of a run: a scripted one that is served here, or somebody's server, asked whether it is there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

import httpx
import orjson
import trio

from hermes_trio.cli.options import RunSettings
from hermes_trio.errors import InvalidInputError, UnavailableError
from hermes_trio.models.chat import ChatClient
from hermes_trio.models.request import checked_api_key, completions_url, is_loopback, public_url
from hermes_trio.rollouts.tasks import Task
from hermes_trio.testing.scripted import open_scripted_model, policy_by_name

ANSWER_LIMIT_S = 20.0
"""How long a model server may take to say that it is there. Listing models costs it nothing."""


@asynccontextmanager
async def open_model(settings: RunSettings, tasks: Sequence[Task]) -> AsyncIterator[ChatClient]:
    """The model that the settings ask for.

    Cancellation: *shielded, at most 2 s* while closing.

    Raises:
        InvalidInputError: the URL or the key makes no sense, or a task has no reference to play.
        UnavailableError: the server does not answer, or refuses us.
    """
    if settings.model_url is not None:
        served = await _served_name(settings.model_url, settings.api_key)
        name = settings.model_name or served
        async with ChatClient(settings.model_url, api_key=settings.api_key, model=name) as client:
            yield client
        return
    references = {task.id: _reference(task, settings) for task in tasks}
    policy = policy_by_name(settings.scripted, references, settings.seed)
    async with open_scripted_model(policy) as url, ChatClient(url, model=settings.scripted) as client:
        yield client


def _reference(task: Task, settings: RunSettings) -> tuple[str, ...]:
    if not task.reference:
        told = f"task {task.id!r} has none, and a scripted model plays nothing else; give --model URL"
        raise InvalidInputError(told, source=str(settings.tasks), field="reference")
    return task.reference


async def _served_name(base_url: str, api_key: str | None) -> str | None:
    """Make sure that the server is there, and learn what it serves if that is one model.

    Asked before anything is started, so that a wrong address is one sentence and not a run of failures.
    """
    url = completions_url(base_url).removesuffix("chat/completions") + "models"
    key = checked_api_key(api_key)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    told = f"The model server at {public_url(url)}"
    with trio.move_on_after(ANSWER_LIMIT_S):
        try:
            async with httpx.AsyncClient(trust_env=not is_loopback(url), timeout=None) as client:  # noqa: S113
                response = await client.get(url, headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise UnavailableError(
                f"{told} cannot be reached: {(str(error) or type(error).__name__).rstrip('.')}.",
                mend="Start it, or give another --model URL.",
            ) from error
        return _only_model(response, told)
    raise UnavailableError(f"{told} did not answer within {ANSWER_LIMIT_S:g} s.", mend="Is it still loading?")


def _only_model(response: httpx.Response, told: str) -> str | None:
    if response.status_code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        text = f"{told} refuses us: {response.status_code} {response.reason_phrase}."
        raise UnavailableError(text, mend="Give the right key by --api-key-env.")
    # Whatever else it says, it is there: not every server lists its models.
    try:
        models: Any = orjson.loads(response.content)["data"]
        names = [str(model["id"]) for model in models]
    except (ValueError, LookupError, TypeError):
        return None
    return names[0] if len(names) == 1 else None
