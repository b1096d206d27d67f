"""Doubles are held to the real thing by the same suites: model servers and ToolServers.

The real model server, which samples, needs the extra ``train``: see ``test_models_tiny.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import trio

from hermes_trio.testing.faulty_model import COMPLETION, always, http_answer, open_raw_server
from hermes_trio.testing.model_conformance import MODEL_CHECKS, ModelCheck, an_answer_is_whole
from hermes_trio.testing.scripted import Reply, ScriptedCall, open_scripted_model
from hermes_trio.testing.scripted_tools import open_scripted_tools
from hermes_trio.testing.tool_server_conformance import (
    TOKEN,
    TOOL_SERVER_CHECKS,
    ToolServerCheck,
    conformance_answers,
    conformance_tools,
)
from hermes_trio.tools.calls import ToolCall
from hermes_trio.tools.tool import ToolContext
from hermes_trio.tools.tool_server.client import ToolServerClient
from hermes_trio.tools.tool_server.server import ToolServerConfig, open_tool_server


def notes(messages: Sequence[Any], tools: Sequence[Any]) -> Reply:
    """Calls the first tool until it was answered twice."""
    answered = sum(message["role"] == "tool" for message in messages)
    if not tools or answered == 2:
        return Reply(content="Done.", reasoning="that was it")
    return Reply(calls=(ScriptedCall.of(tools[0]["function"]["name"], text=f"note {answered} é"),))


@pytest.mark.parametrize("check", MODEL_CHECKS, ids=lambda check: check.__name__)
async def test_the_scripted_model_conforms(check: ModelCheck) -> None:
    """To what the model that samples for real does."""
    with trio.fail_after(30):
        async with open_scripted_model(notes) as url:
            await check(url)


async def test_the_faulty_model_is_right_where_it_means_to_be() -> None:
    """Its answer with nothing wrong in it; what is wrong with the others is then theirs."""
    async with open_raw_server(always(http_answer(COMPLETION))) as server:
        await an_answer_is_whole(server.url)


@pytest.mark.parametrize("check", TOOL_SERVER_CHECKS, ids=lambda check: check.__name__)
async def test_the_real_tool_server_conforms(check: ToolServerCheck) -> None:
    """With Python functions behind it."""
    async with open_tool_server(conformance_tools(), config=ToolServerConfig(token=TOKEN)) as url:
        await check(url)


@pytest.mark.parametrize("check", TOOL_SERVER_CHECKS, ids=lambda check: check.__name__)
async def test_the_scripted_tool_server_conforms(check: ToolServerCheck) -> None:
    """With a table behind it."""
    async with open_scripted_tools(conformance_answers(), token=TOKEN) as server:
        await check(server.url)


async def test_a_scripted_tool_server_remembers_what_it_was_asked() -> None:
    """For tests of those who ask; without a token it takes everybody."""
    async with open_scripted_tools(conformance_answers()) as server:
        client = ToolServerClient(server.url)
        result = await client.run(ToolCall("add", {"a": 1, "b": 2}), ToolContext(trajectory_id="t"))
        await client.aclose()
    assert result.output == "3"
    assert [(asked.call.arguments, asked.context.trajectory_id) for asked in server.asked] == [
        ({"a": 1, "b": 2}, "t")
    ]
