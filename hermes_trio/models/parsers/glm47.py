r"""GLM 4.7 and 5: GLM 4.5's tags without the line breaks. PURE.

``<tool_call>bash<arg_key>command</arg_key><arg_value>ls</arg_value></tool_call>``

Line breaks between the tags are read as well, and so is a line break spelled as ``\n``, which the model
writes at times.

Source: the chat template of zai-org/GLM-4.7; the spelled line break: SGLang's ``glm47`` detector.
"""

from __future__ import annotations

import re

from hermes_trio.models.parsers.glm45 import glm_like

GLM47 = glm_like(re.compile(r"(?:\s|\\n)*"), re.compile(r"\\"))
