"""Tokens as they were sampled: from whatever a server calls them to rows that a trainer reads. PURE.

``dialects`` reads one answer into one :class:`CallTokens`; ``trace`` keeps those of a trajectory and knows
where a prompt did not go on from what was sampled; ``rows`` makes rows with masks of it.
"""

from hermes_trio.models.tokens.calls import CallTokens as CallTokens
from hermes_trio.models.tokens.dialects import ASK_FOR_TOKEN_IDS as ASK_FOR_TOKEN_IDS
from hermes_trio.models.tokens.dialects import read_tokens as read_tokens
from hermes_trio.models.tokens.managed import calls_of_state as calls_of_state
from hermes_trio.models.tokens.rows import TextOnlyError as TextOnlyError
from hermes_trio.models.tokens.rows import TrainingRow as TrainingRow
from hermes_trio.models.tokens.rows import training_rows as training_rows
from hermes_trio.models.tokens.trace import Drift as Drift
from hermes_trio.models.tokens.trace import TokenTrace as TokenTrace
