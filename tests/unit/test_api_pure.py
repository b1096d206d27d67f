"""The API's pure parts: settings, payloads, schemas, keys."""

from __future__ import annotations

from typing import Any

import pytest

from hermes_trio.api import headers
from hermes_trio.api.environment import ToolExecutorSettings
from hermes_trio.api.guard import origin_refusal
from hermes_trio.api.idempotency import Conflict, IdempotencyKeys
from hermes_trio.api.limits import ApiLimits
from hermes_trio.api.payloads import (
    ArtifactReadRequest,
    Encoding,
    ExecuteRequest,
    ForkRequest,
    ToolPayload,
    read_payload,
)
from hermes_trio.api.problems import problem_of
from hermes_trio.api.schema import schema_of, type_schema
from hermes_trio.errors import (
    BusyError,
    ClosedError,
    HermesTrioError,
    InvalidInputError,
    NoRoomError,
    QuietSlotError,
    SandboxLostError,
    UnavailableError,
)
from hermes_trio.wire.ranges import PositiveSeconds, Seconds

DEFAULTS = {
    "NOMAD_ADDRESS": ("nomad_address", "http://localhost:4646"),
    "JOB_ID": ("job_id", "atropos-sandbox-tool-executor"),
    "IMAGE": ("image", "atropos-sandbox:local"),
    "SLOTS": ("slots", 10),
    "MIN_CONTAINERS": ("min_containers", 1),
    "MAX_CONTAINERS": ("max_containers", 10),
    "PRIVILEGED": ("privileged", False),
    "ACQUIRE_TIMEOUT_S": ("acquire_timeout_s", 30.0),
    "BATCH_WINDOW_MS": ("batch_window_ms", 0),
    "MAX_BATCH_SIZE": ("max_batch_size", 200),
    "ALLOW_NETWORK": ("allow_network", True),
    "TOOL_SERVER_URL": ("tool_server_url", None),
    "TOOL_SERVER_TOKEN": ("tool_server_token", None),
    "TOKEN": ("token", None),
    "PURGE_JOB_ON_SHUTDOWN": ("purge_job_on_shutdown", True),
}


@pytest.mark.parametrize(("variable", "member", "default"), [(k, *v) for k, v in DEFAULTS.items()])
def test_each_variable_has_the_ancestors_name_and_default(variable: str, member: str, default: Any) -> None:
    """But for the batch window, which is a defect there."""
    assert getattr(ToolExecutorSettings.from_environment({}), member) == default
    told = {bool: "yes", int: "7", float: "7.5"}.get(type(default), "a-text")
    wanted: Any = {"yes": not default or True, "7": 7, "7.5": 7.5}.get(told, "a-text")
    read = ToolExecutorSettings.from_environment({f"TOOL_EXECUTOR_{variable}": told})
    assert getattr(read, member) == wanted


@pytest.mark.parametrize("told", ["1", "true", "YES", " y ", "On"])
def test_what_is_true(told: str) -> None:
    """As in the ancestor; anything else is false."""
    assert ToolExecutorSettings.from_environment({"TOOL_EXECUTOR_PRIVILEGED": told}).privileged
    assert not ToolExecutorSettings.from_environment({"TOOL_EXECUTOR_ALLOW_NETWORK": "maybe"}).allow_network


@pytest.mark.parametrize(
    ("variable", "told"),
    [
        ("SLOTS", "0"),
        ("SLOTS", "many"),
        ("SLOTS", "9999999999"),
        ("BATCH_WINDOW_MS", "-1"),
        ("ACQUIRE_TIMEOUT_S", "nan"),
        ("ACQUIRE_TIMEOUT_S", "soon"),
        ("TOKEN", "two words"),
    ],
)
def test_a_wrong_variable_is_named(variable: str, told: str) -> None:
    """And a token is not repeated."""
    with pytest.raises(InvalidInputError) as caught:
        ToolExecutorSettings.from_environment({f"TOOL_EXECUTOR_{variable}": told})
    assert caught.value.source == f"TOOL_EXECUTOR_{variable}"
    assert "two words" not in str(caught.value)


def test_a_whole_number_may_be_written_with_a_point() -> None:
    """A schema's `integer` takes 5.0; what has a fraction is no such number, and true never is."""
    asked = {"trajectory_id": "t", "path": "p"}
    assert read_payload(ArtifactReadRequest, {**asked, "max_bytes": 5.0}).max_bytes == 5
    for value in (5.5, 1e300, True, -1.0):
        with pytest.raises(InvalidInputError) as caught:
            read_payload(ArtifactReadRequest, {**asked, "max_bytes": value})
        assert caught.value.field == "max_bytes"


def test_settings_do_not_show_tokens() -> None:
    """Not even in a traceback."""
    settings = ToolExecutorSettings(token="secret-1", tool_server_token="secret-2")
    assert "secret" not in repr(settings)


def test_a_key_lives_as_long_as_it_may() -> None:
    """Bounded in time, in entries and in bytes."""
    keys = IdempotencyKeys(max_entries=2, max_bytes=10, keep_s=5)
    assert keys.begin("a", b"1", now=0) is None
    with pytest.raises(Conflict) as running:
        keys.begin("a", b"1", now=1)
    assert running.value.running
    keys.finish("a", b"12345")
    keys.finish("a", b"again")
    assert keys.begin("a", b"1", now=2) == b"12345"
    with pytest.raises(Conflict) as other:
        keys.begin("a", b"2", now=2)
    assert not other.value.running
    assert repr(keys) == "<IdempotencyKeys 1 keys, 5 bytes>"
    assert keys.begin("a", b"2", now=6) is None
    keys.forget("a")
    keys.forget("a")
    for number in range(3):
        assert keys.begin(str(number), b"", now=7) is None
    assert repr(keys) == "<IdempotencyKeys 2 keys, 0 bytes>"
    keys.finish("0", b"gone already")
    keys.finish("1", b"x" * 6)
    keys.finish("2", b"x" * 6)
    assert repr(keys) == "<IdempotencyKeys 1 keys, 6 bytes>"


def test_payloads_are_read_strictly_and_strangers_passed_over() -> None:
    """As far as they are known."""
    read = read_payload(
        ExecuteRequest, {"trajectory_id": "t", "tool": {"name": "bash", "more": 1}, "timeout_s": 3, "x": []}
    )
    assert (read.timeout_s, read.tool.name) == (3.0, "bash")
    assert read.tool.to_tool_call().uniq_id
    assert ToolPayload(name="a", uniq_id="u").to_tool_call().uniq_id == "u"
    with pytest.raises(InvalidInputError) as caught:
        read_payload(ExecuteRequest, {"trajectory_id": "t", "tool": 3}, where="calls.0")
    assert caught.value.field == "calls.0.tool"
    with pytest.raises(InvalidInputError):
        read_payload(ArtifactReadRequest, {"trajectory_id": "t", "path": "p", "encoding": "utf-7"})
    wanted = {"trajectory_id": "t", "path": "p", "encoding": "base64"}
    assert read_payload(ArtifactReadRequest, wanted).encoding is Encoding.BASE64
    assert read_payload(ForkRequest, {"trajectory_id": "t", "into": ["a", "b"]}).into == ("a", "b")


def test_schemas_say_what_is_read() -> None:
    """Types, bounds, defaults, words."""
    schema = schema_of(ExecuteRequest)
    assert schema["required"] == ["trajectory_id", "tool"]
    assert schema["properties"]["trajectory_id"]["maxLength"] == 512
    assert schema["properties"]["timeout_s"]["anyOf"] == [{"type": "number"}, {"type": "null"}]
    assert schema_of(Encoding)["enum"] == ["text", "base64"]
    assert type_schema(Seconds) == {"type": "number", "minimum": 0}
    assert type_schema(PositiveSeconds) == {"type": "number", "exclusiveMinimum": 0}
    assert type_schema(int | str) == {"anyOf": [{"type": "integer"}, {"type": "string"}]}


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidInputError("no", field="f"), 422),
        (SandboxLostError("gone"), 410),
        (BusyError("full"), 503),
        (ClosedError("closed"), 503),
        (UnavailableError("none"), 503),
        (NoRoomError("full"), 409),
        (QuietSlotError("still"), 409),
    ],
)
def test_errors_of_ours_have_a_status(error: HermesTrioError, status: int) -> None:
    """Whose fault it is shows in the first digit."""
    assert problem_of(error).status == status


def test_origins() -> None:
    """Who may come in from a browser."""
    assert origin_refusal({"host": "[::1]:9001"}, has_token=False) is None
    assert origin_refusal({"host": "LOCALHOST:1", "origin": "http://localhost:1"}, has_token=False) is None
    assert origin_refusal({}, has_token=False) is None
    assert origin_refusal({"host": "a.example"}, has_token=False) is not None
    assert origin_refusal({"host": "a.example", "origin": "http://b.example"}, has_token=True) is not None


def test_limits_are_positive() -> None:
    """A bound of nothing is a mistake."""
    with pytest.raises(InvalidInputError) as caught:
        ApiLimits(max_batch=0)
    assert caught.value.field == "max_batch"


def test_one_body_fits_into_the_room_of_all() -> None:
    """Else the largest would be refused for ever, as if somebody else were in the way."""
    with pytest.raises(InvalidInputError) as caught:
        ApiLimits(max_body_bytes=1001, max_bodies_bytes=1000)
    assert caught.value.field == "max_bodies_bytes"
    assert ApiLimits(max_body_bytes=1000, max_bodies_bytes=1000).max_bodies_bytes == 1000


def test_parts_digests_and_texts_of_headers_are_read_strictly() -> None:
    """A range that is turned round is none; a digest must be one; text is UTF-8."""
    assert headers.part_of("bytes=5-4", 10) is None
    assert headers.part_of("bytes=2-", 10) == headers.Part(2, 10)
    for told in ("sha-256=:AAAA:", "sha-256=:A:"):
        with pytest.raises(InvalidInputError, match="32 bytes in base64"):
            headers.digest_of(told)
    with pytest.raises(InvalidInputError, match="is not UTF-8"):
        headers.text_in({"path": b"\xff"}, "path")
