"""LongCat-Flash: the Hermes format between ``<longcat_tool_call>`` tags. PURE.

Source: the chat template of meituan-longcat/LongCat-Flash-Chat.
"""

from __future__ import annotations

from hermes_trio.models.parsers.hermes import hermes_like

LONGCAT = hermes_like(
    "<longcat_tool_call>",
    "</longcat_tool_call>",
    ends=("</longcat_s>",),
    thought=("<longcat_think>", "</longcat_think>"),
)
