"""How a result is written for a model. PURE.

Two forms. :func:`result_to_content` is the ``content`` of a ``tool`` message. :func:`result_to_xml` is
the ``<tool_response>`` of prompts that carry tools as text.

The content is one JSON object, shaped like the terminal tool of hermes-agent so that models trained on
either read both:

``output``
    what the tool printed; always there, may be empty
``exit_code``
    of a command; left out for tools that have none; -1 when a limit ended it
``error``
    one line, or ``null``
"""

from __future__ import annotations

import json
from typing import Any

from hermes_trio.tools.calls import ToolResult


def result_to_content(result: ToolResult) -> str:
    """The result as the JSON object described above."""
    content: dict[str, Any] = {"output": result.output}
    if "exit_code" in result.metadata:
        content["exit_code"] = result.metadata["exit_code"]
    content["error"] = result.error or None
    return json.dumps(content, ensure_ascii=False)


def error_content(message: str) -> str:
    """What the model reads when its call never ran."""
    return json.dumps({"error": message}, ensure_ascii=False)


def result_to_xml(result: ToolResult) -> str:
    """The result as ``<tool_response>{json}</tool_response>``; empty members are left out, success never is.

    A ``<`` inside is written as its JSON escape: the value is the same, and no output can close the tag
    and speak for the system.
    """
    members: dict[str, Any] = {
        "output": result.output,
        "uniq_id": result.uniq_id,
        "error": result.error,
        "metadata": dict(result.metadata),
    }
    told = {"success": result.success, **{name: value for name, value in members.items() if value}}
    text = json.dumps(told, ensure_ascii=False).replace("<", "\\u003c")
    return f"<tool_response>{text}</tool_response>"
