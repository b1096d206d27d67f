"""The executor's file methods under the virtual clock: bad input, lost slots, reports that are none."""

from __future__ import annotations

from typing import Any

import pytest

import hermes_trio as ht
from hermes_trio.errors import Provenance
from hermes_trio.testing.fake_daemon import FakeDaemon, FakeOutcome
from hermes_trio.testing.memory_backend import open_memory_backend
from hermes_trio.wire.frames import Call
from hermes_trio.wire.operations import Operation


@pytest.mark.parametrize(
    ("more", "error"),
    [
        ({"path": ""}, "field 'path': is empty or holds a NUL"),
        ({"path": b"a\0"}, "field 'path': is empty or holds a NUL"),
        ({"path": "\ud800"}, "field 'path': is not text"),
        ({"path": "f", "max_bytes": -1}, "field 'max_bytes': must be a number of bytes or entries"),
        ({"path": "f", "max_bytes": True}, "field 'max_bytes': must be a number of bytes or entries"),
        ({"path": "f", "offset": -1}, "field 'offset': must be a number of bytes or entries"),
        ({"path": "f", "encoding": "utf-16"}, "field 'encoding': must be one of text, base64"),
    ],
)
async def test_a_bad_request_names_its_field(more: dict[str, Any], error: str, autojump_clock: Any) -> None:
    """And nothing is asked of anybody."""
    async with open_memory_backend({"a": FakeDaemon()}) as backend, ht.open_executor(backend) as executor:
        content = await executor.read_artifact("t", **more)
        assert (content.success, content.error, content.provenance) == (
            False,
            error,
            Provenance.INVALID_REQUEST,
        )
        assert (await executor.list_artifacts("t", max_entries=-1)).provenance is Provenance.INVALID_REQUEST
        archive = await executor.archive_artifacts("t", archive_format="zip")
        assert archive.error == "field 'archive_format': must be one of tar.gz, tgz"


async def test_a_report_that_is_none_is_an_internal_error(autojump_clock: Any) -> None:
    """Of a daemon that is not ours; the executor lives."""

    def script(call: Call) -> FakeOutcome | None:
        if call.operation in (Operation.LIST, Operation.DOWNLOAD):
            return FakeOutcome(data={"entries": 1, "truncated": False}, parts=(b"junk",))
        return None

    async with (
        open_memory_backend({"a": FakeDaemon(script=script)}) as backend,
        ht.open_executor(backend) as ex,
    ):
        await ex.execute("t", ht.ToolCall("bash", {"command": "true"}))
        for failed in (await ex.list_artifacts("t"), await ex.read_artifact("t", "f")):
            assert (failed.success, failed.provenance) == (False, Provenance.INTERNAL_ERROR)
            assert failed.error.startswith("the daemon's report cannot be read: ")


async def test_a_lost_slot_is_a_value(autojump_clock: Any) -> None:
    """As for calls."""
    daemon = FakeDaemon()
    async with open_memory_backend({"a": daemon}) as backend, ht.open_executor(backend) as executor:
        await executor.execute("t", ht.ToolCall("bash", {"command": "true"}))
        daemon.kill()
        content = await executor.read_artifact("t", "f")
        assert content.provenance is Provenance.SANDBOX_LOST
