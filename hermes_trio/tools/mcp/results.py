"""What an MCP server says, as tools and results of ours."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import mcp_types

from hermes_trio.errors import Provenance
from hermes_trio.tools.calls import ToolResult
from hermes_trio.tools.schema import ToolSchema

_MAX_NAME_CHARS = 64
_MAX_DESCRIPTION_CHARS = 10_000


def schema_of(tool: mcp_types.Tool) -> ToolSchema:
    """A server's tool as the model is told of it.

    Raises:
        InvalidInputError: its parameters are no schema of an object.
    """
    description = (tool.description or tool.title or "")[:_MAX_DESCRIPTION_CHARS]
    return ToolSchema.from_json_schema(model_name(tool.name), description, tool.input_schema)


def model_name(name: str) -> str:
    """The name as chat completions allow it: letters, digits, ``_`` and ``-``, at most 64."""
    return re.sub(r"[^a-zA-Z0-9_-]", "_", name)[:_MAX_NAME_CHARS]


def result_of(result: mcp_types.CallToolResult) -> ToolResult:
    """A server's result: the texts in it; of anything else what it was."""
    output = "\n".join(_texts(result.content))
    if not output and result.structured_content is not None:
        output = json.dumps(result.structured_content, ensure_ascii=False)
    if result.is_error:
        error = "The tool reported an error."
        return ToolResult(False, output, error, provenance=Provenance.TOOL_ERROR)
    return ToolResult(True, output)


def _texts(content: Sequence[Any]) -> Iterator[str]:
    for block in content:
        match block:
            case mcp_types.TextContent(text=text):
                yield text
            case mcp_types.EmbeddedResource(resource=mcp_types.TextResourceContents(text=text)):
                yield text
            case mcp_types.ResourceLink(uri=uri):
                yield f"[resource {uri}]"
            case mcp_types.ImageContent() | mcp_types.AudioContent():
                yield f"[{block.type}, {block.mime_type}, left out]"
            case _:
                yield f"[{block.type}, left out]"
