"""A scripted model behind a real HTTP server with real OpenAI shapes.

``reference`` solves each task with its reference commands; ``erring`` does the same with seeded mistakes.
A task is known by the line that :func:`hermes_trio.agents.prompt.task_prompt` writes.
"""

from hermes_trio.agents.prompt import TASK_MARKER, task_id_of
from hermes_trio.testing.scripted.erring import Mistake, erring_policy
from hermes_trio.testing.scripted.policies import (
    Policy,
    Reply,
    ScriptedCall,
    policy_by_name,
    policy_names,
    reference_policy,
)
from hermes_trio.testing.scripted.server import open_scripted_model, serve_scripted_model

__all__ = [
    "TASK_MARKER",
    "Mistake",
    "Policy",
    "Reply",
    "ScriptedCall",
    "erring_policy",
    "open_scripted_model",
    "policy_by_name",
    "policy_names",
    "reference_policy",
    "serve_scripted_model",
    "task_id_of",
]
