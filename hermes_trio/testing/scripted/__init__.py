"""A scripted model behind a real HTTP server with real OpenAI shapes.

``reference`` solves each task with its reference commands; ``erring`` does the same with seeded mistakes.
A task is known by the line that :func:`hermes_trio.agents.prompt.task_prompt` writes.

The policies are pure; the names of the server are loaded when they are used, so that whoever only wants
a policy does not load Trio and an HTTP server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hermes_trio.agents.prompt import TASK_MARKER, task_id_of
from hermes_trio.testing.scripted.erring import Mistake, erring_policy
from hermes_trio.testing.scripted.policies import policy_by_name, policy_names, reference_policy
from hermes_trio.testing.scripted.reply import Policy, Reply, ScriptedCall

if TYPE_CHECKING:
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


def __getattr__(name: str) -> Any:
    if name not in ("open_scripted_model", "serve_scripted_model"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from hermes_trio.testing.scripted import server

    return getattr(server, name)
