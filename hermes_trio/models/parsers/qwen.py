"""Qwen 2.5 and Qwen 3: an object with ``name`` and ``arguments`` between ``<tool_call>`` tags. PURE.

The models were trained on the Hermes format, so this is that dialect under the name by which they are known.

Source: the chat templates of Qwen/Qwen2.5-7B-Instruct and Qwen/Qwen3-8B.
"""

from __future__ import annotations

from hermes_trio.models.parsers.hermes import hermes_like

QWEN = hermes_like("<tool_call>", "</tool_call>", ends=("<|im_end|>",))
