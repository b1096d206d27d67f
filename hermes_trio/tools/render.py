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
``note``
    a sentence of the loop's own; left out when there is none
"""

from __future__ import annotations

import json
from typing import Any

from hermes_trio.tools.calls import ToolResult

MAX_ERROR_CHARS = 2_000
"""Of the line that says what went wrong; some tools put a whole traceback there."""


def result_to_content(result: ToolResult, *, max_chars: int | None = None, note: str = "") -> str:
    """The result as the JSON object described above.

    Args:
        result: what the tool gave.
        max_chars: of the output that are shown; ``None``: all.
        note: a sentence to the model beside the result.
    """
    content: dict[str, Any] = {"output": cut_middle(result.output, max_chars)}
    if "exit_code" in result.metadata:
        content["exit_code"] = result.metadata["exit_code"]
    content["error"] = cut_middle(result.error, max_chars and MAX_ERROR_CHARS) or None
    if note:
        content["note"] = note
    return json.dumps(content, ensure_ascii=False)


def cut_middle(text: str, max_chars: int | None) -> str:
    """The head and the tail of a text that is too long, with a sentence between them that says so."""
    if max_chars is None or len(text) <= max_chars:
        return text
    tail = max_chars // 2
    head = max_chars - tail
    gap = f"\n[... {len(text) - max_chars} of {len(text)} characters left out ...]\n"
    return text[:head] + gap + text[len(text) - tail :]


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
