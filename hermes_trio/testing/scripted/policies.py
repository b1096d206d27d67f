"""The policy that knows the answers, and policies by name. PURE."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from attrs import frozen

from hermes_trio.agents.prompt import task_id_of
from hermes_trio.errors import InvalidInputError
from hermes_trio.testing.scripted.erring import erring_policy
from hermes_trio.testing.scripted.reply import Messages, Policy, Reply, ScriptedCall, Tools

References = Mapping[str, Sequence[str]]
"""Task id to the commands that solve the task, in order."""

SHELL_TOOLS = ("terminal", "bash")
"""Tried in this order; the first that is offered is called."""

SOLVED = "The task is solved."
UNKNOWN_TASK = "I do not know this task."
NO_SHELL = "I was not given a shell."


@frozen
class _Reference:
    references: References

    def __call__(self, messages: Messages, tools: Tools) -> Reply:
        task_id = task_id_of(messages)
        commands = self.references.get(task_id) if task_id is not None else None
        if commands is None:
            return Reply(content=UNKNOWN_TASK)
        shell = shell_offered(tools)
        if shell is None:
            return Reply(content=NO_SHELL)
        done = commands_done(messages, commands)
        if done == len(commands):
            return Reply(content=SOLVED)
        return Reply(calls=(ScriptedCall.of(shell, command=commands[done]),))


def reference_policy(references: References) -> Policy:
    """Calls the shell with the task's next reference command, and ends with a sentence after the last.

    Which command is next is read from the transcript: the first that was not called yet, in order.
    """
    return _Reference(references)


def shell_offered(tools: Tools) -> str | None:
    """The shell tool to call, or ``None`` when none is offered."""
    offered = {tool.get("function", {}).get("name") for tool in tools}
    return next((name for name in SHELL_TOOLS if name in offered), None)


def commands_done(messages: Messages, commands: Sequence[str]) -> int:
    """How many of the commands were called already, in their order."""
    done = 0
    for command in _called_commands(messages):
        if done < len(commands) and command == commands[done]:
            done += 1
    return done


def _called_commands(messages: Messages) -> Iterator[Any]:
    for message in messages:
        for call in message.get("tool_calls") or ():
            yield _command_of(call["function"]["arguments"])


def _command_of(arguments: str) -> Any:
    try:
        decoded = json.loads(arguments)
    except ValueError:
        return None
    return decoded.get("command") if isinstance(decoded, dict) else None


_BY_NAME: Mapping[str, Callable[[References, int], Policy]] = MappingProxyType(
    {
        "reference": lambda references, _seed: reference_policy(references),
        "erring": lambda references, seed: erring_policy(reference_policy(references), seed=seed),
    }
)


def policy_names() -> tuple[str, ...]:
    """The names that :func:`policy_by_name` knows."""
    return tuple(_BY_NAME)


def policy_by_name(name: str, references: References, seed: int = 0) -> Policy:
    """A shipped policy.

    Raises:
        InvalidInputError: there is none of this name.
    """
    if name not in _BY_NAME:
        raise InvalidInputError(
            f"unknown scripted policy '{name}'; there are: {', '.join(_BY_NAME)}", field="scripted"
        )
    return _BY_NAME[name](references, seed)
