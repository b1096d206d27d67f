"""What looks like a secret is masked, and what does not is left as it is."""

from __future__ import annotations

import pytest

from hermes_trio.console.feed import line_of
from hermes_trio.console.masking import mask_text
from hermes_trio.console.model import LiveCall
from hermes_trio.telemetry.events import CallQueued, Stamped


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("export OPENAI_API_KEY=sk-proj-abcdefghijklmnop; run", "export OPENAI_API_KEY=•••; run"),
        ("echo sk-abcdefghijklmnop1234", "echo •••"),
        ("curl -H 'Authorization: Bearer abc.def'", "curl -H 'Authorization: Bearer •••'"),
        ("git clone https://me:hunter2@example.org/x.git", "git clone https://me:•••@example.org/x.git"),
        ("psql postgres://:pw@db/x", "psql postgres://:•••@db/x"),
        ("AWS=AKIAABCDEFGHIJKLMNOP aws s3 ls", "AWS=••• aws s3 ls"),
        ("aws_secret_access_key = 'abc/def+1'", "aws_secret_access_key = '•••'"),
        ('{"password": "x y"}', '{"password": "••• y"}'),
        ("echo eyJhbGciOiJI.eyJzdWIiOiIx.abc-_", "echo •••"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\nls", "•••\nls"),
        ("hf_abcdefghijklmnopqrstuv github_pat_abcdefghijklmnopqrst", "••• •••"),
    ],
)
def test_secrets_are_masked(text: str, shown: str) -> None:
    """By their names, by where they stand, by their own form."""
    assert mask_text(text) == shown


@pytest.mark.parametrize(
    "text",
    ["ls -la", "curl https://example.org:8080/a@b", "pip install basic-auth", "ls ~/.ssh/keys", "task-sk-1"],
)
def test_what_is_none_is_left(text: str) -> None:
    """A console that masks everything shows nothing."""
    assert mask_text(text) == text


def test_commands_are_masked_wherever_they_are_shown() -> None:
    """In the tree, in the waterfall, in the feed; what a process is compared with is the command itself."""
    command = "PASSWORD=hunter2 ./deploy"
    call = LiveCall(
        number=1,
        trajectory="t",
        tool="bash",
        uniq_id="u",
        turn=0,
        summary=command,
        entered=0.0,
        since=0.0,
    )
    event = CallQueued(
        call=1, trajectory="t", tool="bash", uniq_id="u", limit_s=1.0, slot_bound=True, summary=command
    )
    for shown in (call.row(), call.details(), line_of(Stamped(1, 1.0, event), {})):
        assert "hunter2" not in str(shown)
        assert "./deploy" in str(shown)
    assert call.summary == command
