"""Tasks as people see them: the nursery a task runs under, and its stack."""

from __future__ import annotations

import traceback
from typing import Final

import trio

MAX_DEPTH: Final = 64
MAX_STACK_CHARS: Final = 60_000
_PLUMBING: Final = ("trio.", "hypercorn.", "link.background.", "contextlib.", "<", "async_generator")
"""Tasks that stand between a program's own and say nothing about it."""


def nursery_of(task: trio.lowlevel.Task) -> str:
    """The nurseries above a task by the names of the tasks that opened them, outermost first."""
    names = list[str]()
    above = task.parent_nursery
    for _ in range(MAX_DEPTH):
        if above is None or above.parent_task is None:
            break
        name = above.parent_task.name.removeprefix("hermes_trio.")
        if not name.startswith(_PLUMBING) and (not names or names[-1] != name):
            names.append(name)
        above = above.parent_task.parent_nursery
    return " › ".join(reversed(names)) or task.name


def stack_of(task: trio.lowlevel.Task) -> str:
    """The stack of a task that is parked, its own frames and those of what it waits in.

    With stackscope installed it shows context managers, nurseries and their children too.
    """
    try:
        import stackscope
    except ImportError:
        lines = [f"task {task.name}\n"]
        for frame, line in task.iter_await_frames():
            lines += traceback.format_list(
                [traceback.FrameSummary(frame.f_code.co_filename, line, frame.f_code.co_name)]
            )
        text = "".join(lines)
    else:
        text = f"task {task.name}\n{stackscope.extract(task, recurse_child_tasks=True)}"
    return text if len(text) <= MAX_STACK_CHARS else f"{text[:MAX_STACK_CHARS]}\n… (cut)"
