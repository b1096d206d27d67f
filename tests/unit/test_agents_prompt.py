"""The first messages of a task, and how its id is found in them."""

from __future__ import annotations

from hermes_trio.agents.prompt import TASK_MARKER, task_id_of, task_prompt


def test_the_id_that_was_written_is_found() -> None:
    """In the user message, whatever the prompt says further down."""
    messages = task_prompt("git-01", "Do it.\nTask: another")
    assert [message["role"] for message in messages] == ["system", "user"]
    assert messages[1]["content"] == "Task: git-01\n\nDo it.\nTask: another"
    assert task_id_of(messages) == "git-01"


def test_the_system_message_can_be_left_out() -> None:
    """Some chat templates know none."""
    (message,) = task_prompt("t", "x", system_prompt=None)
    assert message["role"] == "user"


def test_only_asked_messages_name_the_task() -> None:
    """What an assistant or a tool says is no marker; content parts count."""
    said = {"role": "assistant", "content": f"{TASK_MARKER}x"}
    parts = {"role": "user", "content": [{"type": "text", "text": f"hi\n{TASK_MARKER}y "}]}
    assert task_id_of([said]) is None
    assert task_id_of([said, parts]) == "y"
