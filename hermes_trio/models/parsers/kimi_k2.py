"""Kimi K2: calls in a section, each with an id that holds its name. PURE.

``<|tool_calls_section_begin|><|tool_call_begin|>functions.bash:0<|tool_call_argument_begin|>{"command":
"ls"}<|tool_call_end|><|tool_calls_section_end|>``

The id (``functions.bash:0``, the number counts the calls of the whole conversation) is the call's
``call_id``: the model expects to see it again with the result. The prefix may be left out.

Source: docs/tool_call_guidance.md of moonshotai/Kimi-K2-Instruct; the tokens in the singular: vLLM's
``kimi_k2`` tool parser.
"""

from __future__ import annotations

import re

from hermes_trio.models.parsers.base import Draft
from hermes_trio.models.parsers.cursor import Cursor, Reading
from hermes_trio.models.parsers.json_text import read_json_object
from hermes_trio.models.parsers.sections import section_dialect

_ID = re.compile(r"(?:functions\.)?([\w.-]+):[0-9]+")
_TEXT = re.compile(r"[\w.:-]*")


def _read_one(cursor: Cursor) -> Reading[Draft]:
    yield from cursor.skip_space()
    call_id = yield from cursor.take(_TEXT)
    named = _ID.fullmatch(call_id)
    if not named:
        raise cursor.malformed("expected an id such as functions.NAME:0")
    yield from cursor.skip_space()
    yield from cursor.expect("<|tool_call_argument_begin|>")
    arguments = yield from read_json_object(cursor)
    return Draft(named[1], arguments, call_id)


KIMI_K2 = section_dialect(
    sections=("<|tool_calls_section_begin|>", "<|tool_call_section_begin|>"),
    ends_of_sections=("<|tool_calls_section_end|>", "<|tool_call_section_end|>"),
    call="<|tool_call_begin|>",
    end_of_call="<|tool_call_end|>",
    read_one=_read_one,
    ends=("<|im_end|>",),
)
