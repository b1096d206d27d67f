"""PURE. What the model reads of a background job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from hermes_trio.executor.file_results import Composed
from hermes_trio.tools.calls import ToolCall
from hermes_trio.wire.codec import structure_arguments
from hermes_trio.wire.frames import Result
from hermes_trio.wire.operations import JobAction, JobReport

_COMMAND_CHARS: Final = 60


def compose_job(_call: ToolCall, result: Result, sent: Mapping[str, Any]) -> Composed:
    """One line on how the job stands, after its log if that was asked for; the figures as metadata."""
    if sent["action"] == JobAction.LIST:
        jobs = [structure_arguments(JobReport, each) for each in result.data["jobs"]]
        lines = [f"{standing(job)}: {_shown(job.command)}" for job in jobs]
        return "\n".join(lines) or "There are no jobs", dict(result.data)
    job = structure_arguments(JobReport, result.data)
    match sent["action"]:
        case JobAction.START:
            text = f"{standing(job)}; see the tool job"
        case JobAction.LOGS:
            text = _log(job, result.payload, sent)
        case JobAction.INPUT if job.sent_bytes:
            text = f"{standing(job)}, and has taken {job.sent_bytes} bytes"
        case _:
            text = standing(job)
    return text, dict(result.data)


def _log(job: JobReport, payload: bytes, sent: Mapping[str, Any]) -> str:
    text = payload.decode("utf-8", "replace")
    if "offset" in sent and job.first_offset > sent["offset"]:
        text = f"[... {job.first_offset - sent['offset']} bytes are lost ...]\n{text}"
    elif "offset" not in sent and job.lost_bytes and job.first_offset:
        text = f"[... from byte {job.first_offset} on; {job.lost_bytes} bytes before may be lost ...]\n{text}"
    rest = job.log_bytes - job.offset
    more = f", {rest} bytes of its output are still to be read" if rest > 0 else ""
    return f"{text.rstrip(chr(10))}\n[{standing(job)}{more}]".lstrip("\n")


def standing(job: JobReport) -> str:
    """How it stands, in a few words."""
    if job.running:
        return f"{job.job} runs since {job.age_s:.1f} s"
    how = {
        "exited": f"exit code {job.exit_code}",
        "signalled": f"signal {job.signal}",
        "killed": "it was killed",
    }.get(job.ending, job.reason or job.ending)
    return f"{job.job} has ended after {job.age_s:.1f} s: {how}"


def _shown(command: str) -> str:
    line = " ".join(command.split())
    return line if len(line) <= _COMMAND_CHARS else line[:_COMMAND_CHARS] + "..."
