"""What a model may say of background jobs, and what it reads of them."""

from __future__ import annotations

from typing import Any

import pytest

from hermes_trio.errors import InvalidInputError, Provenance
from hermes_trio.executor.config import ExecutorConfig
from hermes_trio.executor.options import CallOptions
from hermes_trio.executor.plan import Plan, Refuse, RunInSlot, plan_call
from hermes_trio.executor.results import check_quiesced, result_of
from hermes_trio.tools.background import JOB, with_background
from hermes_trio.tools.calls import ToolCall, ToolResult
from hermes_trio.tools.registry import ToolRegistry, default_registry, registry_of
from hermes_trio.tools.schema import ToolSchema
from hermes_trio.tools.wrappers import prefixed
from hermes_trio.wire.codec import unstructure
from hermes_trio.wire.frames import CallId, Result
from hermes_trio.wire.operations import JobReport, Operation

ALLOWED = ExecutorConfig(allow_background=True, allow_network=False)
REGISTRY = with_background(default_registry())


def planned(name: str, arguments: dict[str, Any], *, config: ExecutorConfig = ALLOWED, **more: Any) -> Plan:
    """What is to be done with it."""
    return plan_call(ToolCall(name, arguments), registry=REGISTRY, config=config, **more)


def sent(name: str, **arguments: Any) -> dict[str, Any]:
    """What the daemon is asked for."""
    plan = planned(name, arguments)
    assert isinstance(plan, RunInSlot), plan
    assert plan.operation is Operation.JOB
    return dict(plan.arguments)


def test_a_shell_with_background_becomes_a_job() -> None:
    """Its rights are the operator's; its timeout is the job's limit, however long."""
    start = {"action": "start", "command": "x", "allow_network": False, "require_sandbox": False}
    assert sent("bash", command="x", background=True) == start
    assert sent("terminal", command="x", background=True, timeout=90_000) == {**start, "limit_s": 90_000.0}
    assert sent("terminal", command="x", background=True, timeout=0)["limit_s"] == 1.0
    assert isinstance(planned("terminal", {"command": "x", "background": True, "timeout": True}), Refuse)
    assert sent("bash", command="x", background=True, cwd="d", shell="sh", allow_network=True) == {
        **start,
        "cwd": "d",
        "shell": "sh",
    }
    plain = planned("bash", {"command": "x", "background": False})
    assert isinstance(plain, RunInSlot)
    assert plain.operation is Operation.BASH
    options = CallOptions(environment={"A": "b"}, sha256=True)
    plan = planned("bash", {"command": "x", "background": True}, options=options)
    assert isinstance(plan, RunInSlot)
    assert plan.arguments == {**start, "environment": {"A": "b"}}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"action": "list"}, {"action": "list", "max_wait_s": 30.0}),
        (
            {"action": "logs", "job": "j"},
            {"action": "logs", "job": "j", "max_bytes": 30_000, "follow": True, "max_wait_s": 0.0},
        ),
        (
            {"action": "logs", "job": "j", "offset": -5, "max_bytes": 10**9, "timeout": 1e9},
            {"action": "logs", "job": "j", "max_bytes": 100_000, "offset": 0, "max_wait_s": 600.0},
        ),
        ({"action": "wait", "job": "j"}, {"action": "wait", "job": "j", "max_wait_s": 30.0}),
        (
            {"action": "signal", "job": "j"},
            {"action": "signal", "job": "j", "signal": "TERM", "max_wait_s": 30.0},
        ),
        (
            {"action": "stdin", "job": "j", "input": "x", "timeout": -1},
            {"action": "input", "job": "j", "eof": False, "max_wait_s": 0.0},
        ),
    ],
)
def test_the_tool_job_is_clamped(arguments: dict[str, Any], expected: dict[str, Any]) -> None:
    """What a model leaves out has a default, what it overdoes a bound."""
    assert sent("job", **arguments) == expected


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"action": "dance"}, "action"),
        ({"action": "wait"}, "'job' must be a string"),
        ({"action": "wait", "job": 7}, "job"),
        ({"action": "signal", "job": "j", "signal": "9"}, "signal"),
        ({"action": "stdin", "job": "j"}, "stdin wants 'input', or 'eof'"),
        ({"action": "stdin", "job": "j", "input": "\ud800"}, "not valid Unicode"),
    ],
)
def test_what_makes_no_sense_is_refused_here(arguments: dict[str, Any], told: str) -> None:
    """One line for the model."""
    plan = planned("job", arguments)
    assert isinstance(plan, Refuse)
    assert plan.result.provenance is Provenance.INVALID_REQUEST
    assert told in plan.result.error


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("bash", {"command": "x", "background": True}),
        ("terminal", {"command": "x", "background": True}),
        ("job", {"action": "list"}),
    ],
)
def test_without_the_operators_word_it_is_refused(name: str, arguments: dict[str, Any]) -> None:
    """Whatever the registry says."""
    plan = planned(name, arguments, config=ExecutorConfig())
    assert isinstance(plan, Refuse)
    assert plan.result.provenance is Provenance.DENIED
    assert plan.result.error == "terminal background execution is not supported in sandbox"


def test_a_registry_learns_of_the_background() -> None:
    """Its shells take the parameter, whatever they are called; nothing else changes, and it is done once."""
    plain = default_registry()
    assert "background" not in plain.schemas()[1].parameters
    told = with_background(plain)
    assert told.names() == (*plain.names(), "job")
    for name in ("bash", "terminal"):
        schema = told.get(name)
        assert schema is not None
        assert "see the tool job" in schema.parameters["background"]["description"]
        assert "Nothing keeps running after the call." not in schema.description
    assert with_background(told) is told
    files = registry_of("filesystem")
    assert with_background(files) is files
    renamed = with_background(ToolRegistry(prefixed(registry_of("bash"), "my_")))
    assert renamed.names() == ("my_bash", "job")
    with pytest.raises(InvalidInputError, match="already registered"):
        with_background(ToolRegistry([*registry_of("bash"), ToolSchema("job", external=True)]))
    assert JOB.name not in registry_of("full")


def told(action: str, report: dict[str, Any], payload: bytes = b"", **sent: Any) -> ToolResult:
    """What the model reads."""
    base = {"job": "job-1", "command": "make  all", "running": True, "age_s": 2.04}
    data = unstructure(JobReport(**{**base, **report}))
    result = Result(
        call_id=CallId(1), provenance=Provenance.OK, data=data, segments=(len(payload),), payload=payload
    )
    return result_of(ToolCall("job", {}), Operation.JOB, result, arguments={"action": action, **sent})


OVER = {"running": False, "ending": "exited", "exit_code": 3}


@pytest.mark.parametrize(
    ("action", "report", "output"),
    [
        ("start", {}, "job-1 runs since 2.0 s; see the tool job"),
        ("wait", OVER, "job-1 has ended after 2.0 s: exit code 3"),
        ("wait", {**OVER, "ending": "signalled", "signal": 11}, "job-1 has ended after 2.0 s: signal 11"),
        ("signal", {**OVER, "ending": "killed"}, "job-1 has ended after 2.0 s: it was killed"),
        ("wait", {**OVER, "ending": "limit", "reason": "so"}, "job-1 has ended after 2.0 s: so"),
        ("input", {"sent_bytes": 4}, "job-1 runs since 2.0 s, and has taken 4 bytes"),
    ],
)
def test_how_a_job_stands_is_one_line(action: str, report: dict[str, Any], output: str) -> None:
    """With the figures as metadata."""
    result = told(action, report)
    assert result.output == output
    assert result.metadata["job"] == "job-1"


def test_logs_say_what_is_missing() -> None:
    """Before the piece, and after it."""
    figures = {"first_offset": 100, "offset": 102, "log_bytes": 110, "lost_bytes": 60}
    assert told("logs", figures, b"ab", offset=40).output == (
        "[... 60 bytes are lost ...]\nab\n"
        "[job-1 runs since 2.0 s, 8 bytes of its output are still to be read]"
    )
    assert told("logs", figures, b"ab", offset=100).output.startswith("ab\n[job-1 runs")
    assert told("logs", figures, b"ab", follow=True).output.startswith("[... from byte 100 on; 60 bytes")
    whole = {**OVER, "offset": 2, "log_bytes": 2}
    assert told("logs", whole, b"a\n", follow=True).output == "a\n[job-1 has ended after 2.0 s: exit code 3]"


def test_a_list_has_a_line_for_each() -> None:
    """Commands on one line, and not too long."""
    jobs = [JobReport(job=f"job-{n}", command="a\nb " * 40 * n, running=True, age_s=1.0) for n in (0, 1)]
    result = Result(
        call_id=CallId(1), provenance=Provenance.OK, data={"jobs": [unstructure(job) for job in jobs]}
    )
    made = result_of(ToolCall("job", {}), Operation.JOB, result, arguments={"action": "list"})
    assert made.output == f"job-0 runs since 1.0 s: \njob-1 runs since 1.0 s: {('a b ' * 15)}..."
    broken = Result(call_id=CallId(1), provenance=Provenance.OK, data={"jobs": [{"job": 7}]})
    made = result_of(ToolCall("job", {}), Operation.JOB, broken, arguments={"action": "list"})
    assert made.provenance is Provenance.INTERNAL_ERROR


@pytest.mark.parametrize(("data", "count"), [({}, 0), ({"jobs_killed": 3}, 3), ({"jobs_killed": "x"}, 0)])
def test_quiesce_tells_how_many_it_ended(data: dict[str, Any], count: int) -> None:
    """An older daemon says nothing of it."""
    assert check_quiesced(Result(call_id=CallId(1), provenance=Provenance.OK, data=data)) == count
