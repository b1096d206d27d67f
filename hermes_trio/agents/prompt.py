"""The messages a task begins with. PURE.

The line that names the task is for people who read trajectories, and for scripted models, which know a
task by it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hermes_trio.models.completion import text_of

TASK_MARKER = "Task: "
"""Begins the line that names the task; the rest of the line is the task's id."""

SYSTEM_PROMPT = (
    "You work in a Linux sandbox, in a workspace directory of your own. Solve the task with the tools you "
    "have. Nobody answers questions. When the task is solved, say so in one sentence without calling a tool."
)

MAX_USER_TASK_CHARS = 500
"""The ancestor's: enough to know what it is about, little enough for a tool that pays by the token."""


def task_prompt(
    task_id: str, prompt: str, *, system_prompt: str | None = SYSTEM_PROMPT
) -> list[dict[str, Any]]:
    """The first messages of a trajectory, a fresh list each time.

    Args:
        task_id: named in the first line of the user message; one line.
        prompt: what is to be done.
        system_prompt: ``None``: no system message.
    """
    user = {"role": "user", "content": f"{TASK_MARKER}{task_id}\n\n{prompt}"}
    return [user] if system_prompt is None else [{"role": "system", "content": system_prompt}, user]


def task_id_of(messages: Sequence[Mapping[str, Any]]) -> str | None:
    """The id that :func:`task_prompt` wrote: the first marked line of a system or user message."""
    asked = (message for message in messages if message.get("role") in ("system", "user"))
    lines = (line for message in asked for line in text_of(message.get("content")).splitlines())
    marked = (line.removeprefix(TASK_MARKER).strip() for line in lines if line.startswith(TASK_MARKER))
    return next(marked, None)


def user_task_of(messages: Sequence[Mapping[str, Any]]) -> str:
    """What a conversation is about, for tools: the beginning of its first user message that is text.

    Empty where there is none.
    """
    asked = (message.get("content") for message in messages if message.get("role") == "user")
    texts = (text_of(content).strip() for content in asked)
    return next((text for text in texts if text), "")[:MAX_USER_TASK_CHARS]
