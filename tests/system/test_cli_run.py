"""The verb ``run`` as a program: real daemons, real sandboxes, a real HTTP model."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import trio

from hermes_trio.cli import model
from hermes_trio.cli.options import RunSettings
from hermes_trio.errors import UnavailableError
from hermes_trio.testing.scripted import Reply, ScriptedCall, open_scripted_model

PROGRAM = [sys.executable, "-m", "hermes_trio"]
GOOD = {"id": "good", "prompt": "p", "verifier": "test -e done", "reference": ["touch done"]}


def run(
    cwd: Path, *words: str, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """The program, to its end."""
    return subprocess.run(
        [*PROGRAM, "run", *words],
        cwd=cwd,
        env=os.environ | (environment or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )


def write_tasks(path: Path, *documents: dict[str, Any]) -> Path:
    """A task file."""
    path.write_text("".join(json.dumps(document) + "\n" for document in documents))
    return path


def records(out: Path) -> list[dict[str, Any]]:
    """What the run left, line by line."""
    return [json.loads(line) for line in (out / "trajectories.jsonl").read_bytes().splitlines()]


def left_running(out: Path) -> list[str]:
    """Processes that belong to a run: its daemons inherit the mark that the test put into its environment."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if f"MARK={out}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                found.append((entry / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found


@pytest.mark.slow
def test_the_shipped_tasks_are_all_solved_by_the_reference_and_nothing_is_left(tmp_path: Path) -> None:
    """The one command of the README, with more trajectories than slots."""
    done = run(tmp_path, "--slots", "8", "--concurrency", "12", environment={"MARK": str(tmp_path)})
    assert done.returncode == 0, (done.stdout, done.stderr)
    [out] = (tmp_path / "runs").iterdir()
    lines = records(out)
    assert {line["outcome"] for line in lines} == {"solved"}
    assert all(line["reward"] == 1.0 and not line["masked"] for line in lines)
    assert all(line["tokens"]["completion_tokens"] > 0 for line in lines)
    assert f"{len(lines)} of {len(lines)}" in done.stdout
    assert f"{len(lines)}/{len(lines)} trajectories" in done.stderr
    assert left_running(tmp_path) == []


@pytest.mark.slow
def test_who_failed_is_in_the_record_and_the_exit_code_is_1(tmp_path: Path) -> None:
    """Unsolved is a 0, a task that cannot be set up is no reward at all; the others are not affected."""
    tasks = write_tasks(
        tmp_path / "t.jsonl",
        GOOD,
        GOOD | {"id": "no", "verifier": "echo wanted more; exit 1"},
        GOOD | {"id": "broken", "setup": ["exit 9"]},
    )
    done = run(tmp_path, str(tasks), "--slots", "2", "--group-size", "2", "--out", "out", "--json")
    assert done.returncode == 1, done.stderr
    summary = json.loads(done.stdout)
    assert summary["outcomes"] == {"solved": 2, "unsolved": 2, "task_error": 2}
    assert summary == json.loads((tmp_path / "out" / "summary.json").read_text())
    rewards = {(line["task"], line["index"]): line["reward"] for line in records(tmp_path / "out")}
    expected: dict[str, float | None] = {"good": 1.0, "no": 0.0, "broken": None}
    assert rewards == {(task, n): reward for task, reward in expected.items() for n in (0, 1)}
    assert {"trajectory": "no:0", "outcome": "unsolved", "error": "wanted more"} in summary["failures"]


@pytest.mark.slow
def test_mistakes_of_the_erring_model_are_counted_and_the_same_each_time(tmp_path: Path) -> None:
    """By the seed."""
    counts = []
    for number in range(2):
        words = ("--scripted", "erring", "--seed", "3", "--limit", "20", "--json", "--quiet")
        done = run(tmp_path, *words, "--out", f"out{number}")
        summary = json.loads(done.stdout)
        assert summary["tool_errors"] > 0
        counts.append((summary["outcomes"], summary["turns"], summary["tool_errors"]))
    assert counts[0] == counts[1]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{", "t.jsonl:2: is not valid JSON"),
        ('{"id": "x"}', "t.jsonl:2: field 'prompt': is missing"),
        (json.dumps(GOOD | {"id": "x", "colour": 1}), "t.jsonl:2: field 'colour': unknown field"),
        (json.dumps(GOOD), "t.jsonl:2: field 'id': 'good' was already used on line 1"),
        (
            json.dumps({"id": "x", "prompt": "p", "verifier": "true"}),
            "t.jsonl: field 'reference': task 'x' has none",
        ),
    ],
    ids=["json", "missing", "unknown", "twice", "reference"],
)
@pytest.mark.slow
def test_a_bad_task_file_is_one_line_and_exit_code_2(tmp_path: Path, line: str, told: str) -> None:
    """Before anything was started; no directory is left for a run that never was."""
    (tmp_path / "t.jsonl").write_text(json.dumps(GOOD) + "\n" + line + "\n")
    done = run(tmp_path, "t.jsonl")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"hermes-trio: {told}")
    assert done.stderr.count("\n") == 1
    assert os.listdir(tmp_path / "runs" if (tmp_path / "runs").exists() else tmp_path) in ([], ["t.jsonl"])


def _closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("--model", "http://127.0.0.1:{port}/v1"), 3, "cannot be reached"),
        (("--model", "ftp://x"), 2, "model URL: it must look like http://host:port/v1"),
        (("nowhere.jsonl",), 2, "nowhere.jsonl: cannot be read: No such file or directory"),
        (("--slots", "1", "--daemons", "2"), 2, "must be at least 1 for each daemon"),
        (("--out", "/proc/x"), 2, "/proc/x: cannot be written to"),
    ],
    ids=["refused", "no-url", "no-file", "slots", "out"],
)
def test_what_a_user_can_get_wrong_is_one_line(
    tmp_path: Path, words: Sequence[str], code: int, told: str
) -> None:
    """With its exit code, without a traceback, and with nothing left behind."""
    port = _closed_port()
    done = run(tmp_path, *(word.format(port=port) for word in words), environment={"MARK": str(tmp_path)})
    assert (done.returncode, done.stdout) == (code, "")
    assert told in done.stderr
    assert done.stderr.count("\n") == 1
    assert left_running(tmp_path) == []
    assert not (tmp_path / "runs").exists() or os.listdir(tmp_path / "runs") == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_drains_and_keeps_what_was_finished(tmp_path: Path, number: signal.Signals) -> None:
    """To the whole process group, twice, as an impatient Ctrl-C on a terminal does it."""
    endless = GOOD | {
        "id": "endless",
        "reference": ["sleep 600"],
        "limits": {"call_s": 600.0, "trajectory_s": 600},
    }
    tasks = write_tasks(tmp_path / "t.jsonl", GOOD, endless)
    command = [*PROGRAM, "run", str(tasks), "--slots", "2", "--out", str(tmp_path / "out")]
    with trio.fail_after(60):
        process = await trio.lowlevel.open_process(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"MARK": str(tmp_path)},
            start_new_session=True,
        )
        assert process.stderr is not None
        assert process.stdout is not None
        async with process.stderr, process.stdout:
            progress = await process.stderr.receive_some()
            assert progress.startswith(b"1/2 trajectories, 1 solved")
            assert any("sandbox_daemon" in command for command in left_running(tmp_path))
            for _ in range(2):
                os.killpg(process.pid, number)
            table = b"".join([chunk async for chunk in process.stdout])
            rest = b"".join([chunk async for chunk in process.stderr])
        assert await process.wait() == 128 + number
    assert b"Traceback" not in rest
    assert b"1 of 2" in table
    assert [line["task"] for line in records(tmp_path / "out")] == ["good"]
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (summary["interrupted"], summary["trajectories"]["finished"]) == (True, 1)
    assert left_running(tmp_path) == []


@pytest.mark.slow
async def test_a_served_model_solves_tasks_without_a_reference(tmp_path: Path) -> None:
    """A model by URL: its name is asked for, its key is sent and written nowhere."""

    def policy(messages: Any, tools: Any) -> Reply:
        if any(message["role"] == "tool" for message in messages):
            return Reply(content="Done.", reasoning="it is there now")
        return Reply(calls=(ScriptedCall.of("bash", command="touch done"),))

    bare = {name: value for name, value in GOOD.items() if name != "reference"}
    tasks = write_tasks(tmp_path / "t.jsonl", bare)
    async with open_scripted_model(policy) as url:
        done = await trio.run_process(
            [
                *PROGRAM,
                "run",
                str(tasks),
                "--model",
                url,
                "--api-key-env",
                "KEY",
                "--out",
                str(tmp_path / "o"),
            ],
            env=os.environ | {"KEY": "sesame"},
            capture_stdout=True,
            capture_stderr=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert url.encode() in done.stdout.replace(b"\n", b"")
    [record] = records(tmp_path / "o")
    assert record["reasoning"] == [None, "it is there now"]
    assert b"sesame" not in (tmp_path / "o" / "summary.json").read_bytes() + done.stdout + done.stderr


@pytest.mark.slow
def test_a_reader_that_went_away_is_no_traceback(tmp_path: Path) -> None:
    """``hermes-trio run --json | head -1``: the run is done and kept, only nobody wanted to see it."""
    tasks = write_tasks(tmp_path / "t.jsonl", GOOD)
    reading, writing = os.pipe()
    os.close(reading)
    command = [*PROGRAM, "run", str(tasks), "--slots", "1", "--out", str(tmp_path / "o"), "--json", "--quiet"]
    try:
        done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=60)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")
    assert len(records(tmp_path / "o")) == 1


def test_a_full_standard_output_is_one_sentence(tmp_path: Path) -> None:
    """The figures cannot be shown; the run is kept all the same."""
    tasks = write_tasks(tmp_path / "t.jsonl", GOOD)
    command = [*PROGRAM, "run", str(tasks), "--slots", "1", "--out", str(tmp_path / "o"), "--json", "--quiet"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    assert "standard output cannot be written" in done.stderr
    assert len(records(tmp_path / "o")) == 1


def test_more_slots_than_a_daemon_takes_are_refused(tmp_path: Path) -> None:
    """Bad input of this program, not of the daemon it starts."""
    tasks = write_tasks(tmp_path / "t.jsonl", GOOD)
    command = [*PROGRAM, "run", str(tasks), "--slots", "99999", "--out", str(tmp_path / "o")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "field 'slots': must be at most 4096 for each daemon, not 99999" in done.stderr


def answer(status: str, body: bytes = b"") -> bytes:
    """A whole HTTP response."""
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status.encode(), len(body), body)


async def opened_on(response: bytes | None) -> str:
    """What comes of a model server that answers this to the first request; ``None``: nothing, ever."""
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
    settings = RunSettings(tasks=Path("t"), model_url=url)

    async def serve() -> None:
        async with await listener.accept() as stream:
            await stream.receive_some()
            if response is None:
                await trio.sleep_forever()
            else:
                await stream.send_all(response)

    told = ""
    async with trio.open_nursery() as nursery, listener:
        nursery.start_soon(serve)
        try:
            async with model.open_model(settings, []) as client:
                told = f"fine: {client.model}"
        except UnavailableError as error:
            told = str(error).replace(url, "URL")
        nursery.cancel_scope.cancel()
    return told


@pytest.mark.parametrize(
    ("response", "told"),
    [
        (
            answer("401 Unauthorized"),
            "The model server at URL/v1/models refuses us: 401 Unauthorized. "
            "Give the right key by --api-key-env.",
        ),
        (
            b"",
            "The model server at URL/v1/models cannot be reached: Server disconnected without sending a "
            "response. Start it, or give another --model URL.",
        ),
        (None, "The model server at URL/v1/models did not answer within 0.3 s. Is it still loading?"),
        (answer("404 Not Found"), "fine: None"),
        (answer("200 OK", b'{"data": [{"id": "m"}]}'), "fine: m"),
        (answer("200 OK", b'{"data": [{"id": "m"}, {"id": "n"}]}'), "fine: None"),
        (answer("200 OK", b"[]"), "fine: None"),
    ],
    ids=["401", "empty", "silent", "404", "one", "two", "odd"],
)
@pytest.mark.slow
async def test_a_model_server_is_asked_first_whether_it_is_there(
    monkeypatch: pytest.MonkeyPatch, response: bytes | None, told: str
) -> None:
    """One sentence when it is not; its model's name when it serves just one."""
    monkeypatch.setattr(model, "ANSWER_LIMIT_S", 0.3)
    assert await opened_on(response) == told
