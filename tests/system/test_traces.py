"""One trace from a rollout to the processes of its commands: real programs, a real collector over HTTP."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from hermes_trio.telemetry.exporting import FLUSH_LIMIT_S

pytestmark = pytest.mark.slow

PROGRAM = [sys.executable, "-m", "hermes_trio"]
SECRET = "echo mind-your-own-business > file"
TASK = {"id": "one", "prompt": "p", "verifier": "test -e file", "reference": [SECRET, "false"]}
INCOMING = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def run(place: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`hermes-trio run` with one task, to its end."""
    tasks = place / "tasks.jsonl"
    tasks.write_text(json.dumps(TASK) + "\n")
    command = [*PROGRAM, "run", str(tasks), "--slots", "1", "--quiet", "--out", str(place / "out"), *words]
    return subprocess.run(
        command, cwd=place, env=os.environ | environment, capture_output=True, text=True, timeout=120
    )


class Spans:
    """What was written to a file."""

    def __init__(self, path: Path) -> None:
        self.all: list[dict[str, Any]] = [json.loads(line) for line in path.read_text().splitlines()]
        self._by_id = {span["context"]["span_id"]: span for span in self.all}

    def road(self, span: dict[str, Any]) -> tuple[str, ...]:
        """Its name, after those of the spans above it."""
        above = self._by_id.get(span["parent_id"])
        return (*(() if above is None else self.road(above)), span["name"])

    def roads(self) -> set[tuple[str, ...]]:
        """All of them."""
        return {self.road(span) for span in self.all}


def test_a_run_is_one_trace_from_the_trajectory_to_the_command(tmp_path: Path) -> None:
    """Two processes write into one file; neither commands nor output are in it."""
    done = run(tmp_path, "--traces", "spans.jsonl")
    assert done.returncode == 0, done.stderr
    spans = Spans(tmp_path / "spans.jsonl")
    tool = ("trajectory", "turn", "execute_tool terminal", "sandbox bash")
    assert {
        ("trajectory", "turn", "chat", "POST"),
        (*tool, "run"),
        ("trajectory", "execute_tool bash", "sandbox slot.acquire"),
        ("trajectory", "sandbox slot.quiesce"),
        ("trajectory", "sandbox slot.release"),
    } <= spans.roads()
    of_trajectory = [span for span in spans.all if spans.road(span)[0] == "trajectory"]
    assert len({span["context"]["trace_id"] for span in of_trajectory}) == 1
    services = {span["resource"]["attributes"]["service.name"] for span in of_trajectory}
    assert services == {"hermes-trio run", "sandbox-daemon"}
    codes = [s["attributes"].get("process.exit.code") for s in spans.all if spans.road(s) == tool]
    assert sorted(codes) == [0, 1]
    (failed,) = [
        s for s in spans.all if s["name"] == "execute_tool terminal" and s["status"]["status_code"] == "ERROR"
    ]
    assert failed["attributes"]["error.type"] == "tool_error"
    (chat, *_) = [s for s in spans.all if s["name"] == "chat"]
    assert chat["attributes"]["gen_ai.operation.name"] == "chat"
    assert chat["attributes"]["gen_ai.usage.output_tokens"] > 0
    assert "mind-your-own-business" not in (tmp_path / "spans.jsonl").read_text()


class Collector(BaseHTTPRequestHandler):
    """Takes what an OTLP exporter sends."""

    server: CollectorServer

    def do_POST(self) -> None:
        """One batch."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append((self.path, ExportTraceServiceRequest.FromString(body)))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


class CollectorServer(ThreadingHTTPServer):
    """With what came."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Collector)
        self.received: list[tuple[str, ExportTraceServiceRequest]] = []


@contextmanager
def collecting() -> Iterator[CollectorServer]:
    """A collector while the body runs."""
    with CollectorServer() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("by", ["option", "environment"])
def test_a_collector_is_sent_everything_by_both_programs(tmp_path: Path, by: str) -> None:
    """OTLP over HTTP, by our option or by OpenTelemetry's own variables, which name the service too."""
    with collecting() as collector:
        url = f"http://127.0.0.1:{collector.server_port}"
        if by == "option":
            done = run(tmp_path, "--traces", url)
        else:
            done = run(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=url, OTEL_SERVICE_NAME="mine")
    assert done.returncode == 0, done.stderr
    assert {path for path, _ in collector.received} == {"/v1/traces"}
    resources = [each for _, request in collector.received for each in request.resource_spans]
    services = {
        attribute.value.string_value
        for each in resources
        for attribute in each.resource.attributes
        if attribute.key == "service.name"
    }
    assert services == ({"hermes-trio run", "sandbox-daemon"} if by == "option" else {"mine"})
    names = {span.name for each in resources for scope in each.scope_spans for span in scope.spans}
    assert {"trajectory", "turn", "chat", "execute_tool terminal", "sandbox bash", "run"} <= names


def test_a_collector_that_never_answers_costs_no_more_than_the_bound(tmp_path: Path) -> None:
    """And no result: the run is as good as without it."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        done = run(tmp_path, "--traces", url, OTEL_BSP_SCHEDULE_DELAY="600000")
        took_s = time.monotonic() - began
    assert done.returncode == 0, done.stderr
    assert "could not be sent in time" in done.stderr
    assert took_s < 60 + 2 * FLUSH_LIMIT_S  # the daemon's bound and ours; the rest is a loaded machine's


def test_what_cannot_be_traced_is_said_before_anything_begins(tmp_path: Path) -> None:
    """One line, and no secret in it."""
    for words, says in {
        ("--traces", "http://me:hunter22@host"): "takes no credentials",
        ("--traces", "/nowhere/at/all"): "cannot be written",
    }.items():
        done = run(tmp_path, *words)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert says in done.stderr
        assert "hunter22" not in done.stderr


async def test_a_request_goes_on_with_the_trace_of_its_client(tmp_path: Path) -> None:
    """`traceparent` over HTTP; one that is hostile begins a trace of its own, and nothing breaks."""
    words = ["serve", "--port", "0", "--slots", "1", "--json", "--traces", str(tmp_path / "spans.jsonl")]
    process = await trio.lowlevel.open_process(
        [*PROGRAM, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    with trio.fail_after(90):
        told = json.loads(await process.stdout.receive_some())
        async with httpx.AsyncClient(base_url=told["url"], timeout=30) as client:
            call = {"trajectory_id": "t", "tool": {"name": "bash", "arguments": {"command": "true"}}}
            for header in (INCOMING, "00-zz", "0" * 4000):
                answer = await client.post("/execute", json=call, headers={"traceparent": header})
                assert answer.json()["success"]
            stream = {"traceparent": INCOMING, "accept": "text/event-stream"}
            assert "result" in (await client.post("/execute", json=call, headers=stream)).text
            await client.get("/status")
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 143
    spans = Spans(tmp_path / "spans.jsonl")
    road = ("POST /execute", "execute_tool bash", "sandbox bash", "run")
    traces = [s["context"]["trace_id"].removeprefix("0x") for s in spans.all if spans.road(s) == road]
    incoming = INCOMING.split("-")[1]
    assert len(traces) == 4
    assert traces.count(incoming) == 2
    assert len(set(traces)) == 3
    assert not [span for span in spans.all if span["name"].startswith("GET")]


def test_the_daemon_says_its_log_in_json_and_the_token_never(tmp_path: Path) -> None:
    """Started as a person would start it; what it was given is in no line."""
    token = "a-token-of-at-least-32-characters-0123"
    command = [sys.executable, "-m", "sandbox_daemon", "--data-dir", str(tmp_path / "d"), "--slots", "1"]
    environment = os.environ | {"SANDBOX_DAEMON_TOKEN": token}
    with subprocess.Popen(
        [*command, "--isolation", "none", "--log-level", "debug"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"].replace("ws", "http", 1)
        refused = httpx.get(f"{url}/?token={token}", headers={"authorization": f"Bearer {token}"})
        assert refused.status_code >= 400
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=60)
    lines = [json.loads(line) for line in stderr.splitlines()]
    assert {"draining", "a request was answered without an upgrade"} <= {line["event"] for line in lines}
    assert all({"level", "logger", "timestamp"} <= set(line) for line in lines)
    assert token not in stderr


def test_without_the_sdk_traces_are_refused_with_what_mends_it(tmp_path: Path) -> None:
    """Before anything begins; and without the option nobody misses it."""
    blocked = "import sys; sys.modules['opentelemetry.sdk'] = None; from hermes_trio.cli import main; "
    for words, code in (["run", "--traces", "spans.jsonl"], 3), (["run", "--limit", "0"], 2):
        done = subprocess.run(
            [sys.executable, "-c", f"{blocked}sys.exit(main({words!r}))"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == code, done.stderr
        assert ("pip install 'hermes-trio[traces]'" in done.stderr) == (code == 3)
