"""DeepSeek V3 and R1: the arguments in a fenced block. PURE.

::

    <｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>bash
    ```json
    {"command": "ls"}
    ```<｜tool▁call▁end｜><｜tool▁calls▁end｜>

The bars are U+FF5C, the low lines U+2581.

Source: the chat template of deepseek-ai/DeepSeek-V3-0324.
"""

from __future__ import annotations

import re
from typing import Final

from hermes_trio.models.parsers.base import Dialect, Draft
from hermes_trio.models.parsers.cursor import Cursor, Reading
from hermes_trio.models.parsers.json_text import read_json_object
from hermes_trio.models.parsers.sections import OneCall, section_dialect

SEPARATOR: Final = "<｜tool▁sep｜>"
_TEXT = re.compile(r"[^<\n]*")


def deepseek_like(read_one: OneCall) -> Dialect:
    """A dialect that differs in what stands in one call."""
    return section_dialect(
        sections=("<｜tool▁calls▁begin｜>",),
        ends_of_sections=("<｜tool▁calls▁end｜>",),
        call="<｜tool▁call▁begin｜>",
        end_of_call="<｜tool▁call▁end｜>",
        read_one=read_one,
        ends=("<｜end▁of▁sentence｜>",),
    )


def read_name(cursor: Cursor) -> Reading[str]:
    """The name of a tool, alone on its line or before a token.

    Raises:
        Malformed: there is none.
    """
    name = (yield from cursor.take(_TEXT)).strip()
    if not name:
        raise cursor.malformed("expected the name of a tool")
    return name


def _read_one(cursor: Cursor) -> Reading[Draft]:
    yield from cursor.skip_space()
    yield from cursor.expect("function")
    yield from cursor.expect(SEPARATOR)
    name = yield from read_name(cursor)
    yield from cursor.skip_space()
    yield from cursor.expect("```json")
    arguments = yield from read_json_object(cursor)
    yield from cursor.expect_or_end("```")
    return Draft(name, arguments)


DEEPSEEK_V3 = deepseek_like(_read_one)
