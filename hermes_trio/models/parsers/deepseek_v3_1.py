"""DeepSeek V3.1 and V3.2-Exp: name and arguments with a token between them. PURE.

::

    <｜tool▁calls▁begin｜><｜tool▁call▁begin｜>bash<｜tool▁sep｜>{"command": "ls"}<｜tool▁call▁end｜>...
    <｜tool▁calls▁end｜>

Source: the model card of deepseek-ai/DeepSeek-V3.1, "ToolCall".
"""

from __future__ import annotations

from hermes_trio.models.parsers.base import Draft
from hermes_trio.models.parsers.cursor import Cursor, Reading
from hermes_trio.models.parsers.deepseek_v3 import SEPARATOR, deepseek_like, read_name
from hermes_trio.models.parsers.json_text import read_json_object


def _read_one(cursor: Cursor) -> Reading[Draft]:
    name = yield from read_name(cursor)
    yield from cursor.expect(SEPARATOR)
    return Draft(name, (yield from read_json_object(cursor)))


DEEPSEEK_V3_1 = deepseek_like(_read_one)
