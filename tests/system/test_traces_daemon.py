"""What a daemon's spans say: that a call waited, that it ran, that it had to be killed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import trio

from hermes_trio.backends.local import open_local_backend
from hermes_trio.executor.executor import open_executor
from hermes_trio.telemetry import traces
from hermes_trio.testing.spans import RecordedSpans
from hermes_trio.tools.calls import ToolCall

pytestmark = pytest.mark.slow


def bash(command: str) -> ToolCall:
    """A call."""
    return ToolCall("bash", {"command": command})


async def test_waiting_running_and_killing_have_spans_below_the_call(
    tmp_path: Path, recorded_spans: RecordedSpans
) -> None:
    """By limit and by cancel; the ids are those of the executor's spans in another process."""
    path = tmp_path / "spans.jsonl"
    with trio.fail_after(90):
        async with (
            open_local_backend(slots=1, daemon_options=("--traces", str(path))) as backend,
            open_executor(backend) as executor,
        ):
            with traces.running("waits"):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(executor.execute, "t", bash("read -t 0.5 <> <(:)"))
                    nursery.start_soon(executor.execute, "t", bash("true"))
            with traces.running("limit"):
                result = await executor.execute("t", bash("sleep 600"), limit_s=1.0)
                assert result.provenance == "limit_exceeded"
            with traces.running("cancel"), trio.move_on_after(1.0):
                await executor.execute("t", bash("sleep 600"))
    spans = [json.loads(line) for line in path.read_text().splitlines()]
    assert _below(spans, recorded_spans, "waits") >= {("sandbox bash", "queued"), ("sandbox bash", "run")}
    for how, kind in (("limit", "limit_exceeded"), ("cancel", "cancelled")):
        assert ("sandbox bash", "run", "kill") in _below(spans, recorded_spans, how)
        (call,) = [s for s in _of(spans, recorded_spans, how) if s["name"] == "sandbox bash"]
        assert call["status"]["status_code"] == "ERROR"
        assert call["attributes"]["error.type"] == kind
        assert call["attributes"]["hermes_trio.trajectory"] == "t"


def _of(spans: list[dict[str, Any]], recorded: RecordedSpans, root: str) -> list[dict[str, Any]]:
    trace = f"{recorded.one(root).context.trace_id:#034x}"
    return [span for span in spans if span["context"]["trace_id"] == trace]


def _below(spans: list[dict[str, Any]], recorded: RecordedSpans, root: str) -> set[tuple[str, ...]]:
    """Roads of the daemon's spans in the trace of one of ours, each below a tool call of it."""
    calls = {f"{span.context.span_id:#018x}" for span in recorded.named("execute_tool bash")}
    theirs = {span["context"]["span_id"]: span for span in _of(spans, recorded, root)}

    def road(span: dict[str, Any]) -> tuple[str, ...]:
        above = theirs.get(span["parent_id"])
        assert above is not None or span["parent_id"] in calls
        return (*(() if above is None else road(above)), span["name"])

    return {road(span) for span in theirs.values()}
