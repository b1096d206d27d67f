"""What a model is told of an MCP server's result: every kind of content there is."""

from __future__ import annotations

from typing import Any

import mcp_types
import pytest

from hermes_trio.errors import Provenance
from hermes_trio.tools.mcp.results import model_name, result_of

PIXEL = {"data": "AAAA", "mime_type": "image/png"}


@pytest.mark.parametrize(
    ("block", "told"),
    [
        (mcp_types.TextContent(type="text", text="two\nlines"), "two\nlines"),
        (mcp_types.ImageContent(type="image", **PIXEL), "[image, image/png, left out]"),
        (
            mcp_types.AudioContent(type="audio", data="AAAA", mime_type="audio/wav"),
            "[audio, audio/wav, left out]",
        ),
        (
            mcp_types.ResourceLink(type="resource_link", name="n", uri="file:///a"),
            "[resource file:///a]",
        ),
        (
            mcp_types.EmbeddedResource(
                type="resource", resource=mcp_types.TextResourceContents(uri="file:///a", text="inside")
            ),
            "inside",
        ),
        (
            mcp_types.EmbeddedResource(
                type="resource", resource=mcp_types.BlobResourceContents(uri="file:///a", blob="AAAA")
            ),
            "[resource, left out]",
        ),
    ],
)
def test_each_kind_of_content_is_told(block: Any, told: str) -> None:
    """Texts as they are; of anything else what it was."""
    text = mcp_types.TextContent(type="text", text="before")
    result = result_of(mcp_types.CallToolResult(content=[text, block]))
    assert (result.success, result.output) == (True, f"before\n{told}")


def test_a_result_of_structure_alone_is_told_as_json() -> None:
    """Where there is a text, that is what the server wrote for a model."""
    structured = {"answer": "é"}
    alone = mcp_types.CallToolResult(content=[], structured_content=structured)
    assert result_of(alone).output == '{"answer": "é"}'
    text = mcp_types.TextContent(type="text", text="it is é")
    assert (
        result_of(mcp_types.CallToolResult(content=[text], structured_content=structured)).output == "it is é"
    )


def test_an_error_is_the_tools_and_keeps_its_text() -> None:
    """Which a trainer trains on."""
    text = mcp_types.TextContent(type="text", text="no such city")
    result = result_of(mcp_types.CallToolResult(content=[text], is_error=True))
    assert (result.success, result.output, result.provenance) == (
        False,
        "no such city",
        Provenance.TOOL_ERROR,
    )
    assert result.error


def test_names_are_such_as_chat_completions_allow() -> None:
    """At most 64 characters, of a few kinds."""
    assert model_name("files.read/all") == "files_read_all"
    assert model_name("x" * 100) == "x" * 64
