"""The API over real HTTP: each route, member and status that the ancestor's clients rely on, and ours."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import httpx
import pytest
import trio

from hermes_trio.api.limits import ApiLimits
from hermes_trio.api.server import ApiServer, open_server, serve_api
from hermes_trio.errors import InvalidInputError, UnavailableError
from hermes_trio.executor.executor import Executor, open_executor
from hermes_trio.testing.fake_daemon import FakeDaemon
from hermes_trio.testing.memory_backend import MemoryBackend
from hermes_trio.tools.functions import python_tool
from hermes_trio.tools.registry import ToolRegistry, registry_of

TOKEN = "a-token-of-the-test"


@asynccontextmanager
async def serving(
    *, slots: int = 4, token: str | None = None, tools: ToolRegistry | None = None, **options: Any
) -> AsyncIterator[tuple[httpx.AsyncClient, ApiServer, Executor]]:
    """A server on a daemon in memory, and a client of it."""
    async with (
        open_executor(MemoryBackend({"d": FakeDaemon(slots=slots)}), tools=tools) as executor,
        open_server(executor, token=token, **options) as server,
        httpx.AsyncClient(base_url=server.url, timeout=10) as client,
    ):
        if token is not None:
            client.headers["authorization"] = f"Bearer {token}"
        yield client, server, executor


async def wait_until(executor: Executor, is_so: Callable[[], bool]) -> None:
    """Look again whenever something happens."""
    with trio.fail_after(10):
        async with executor.events() as events:
            while not is_so():
                await events.receive_some()


def bash(command: str, *, trajectory: str = "t", **members: Any) -> dict[str, Any]:
    """The body of a request that runs a command."""
    tool = {"name": "bash", "arguments": {"command": command}, "uniq_id": "u-1"}
    return {"trajectory_id": trajectory, "tool": tool, **members}


async def test_open_routes_answer_what_the_ancestor_answers() -> None:
    """Without a token, even where others want one."""
    async with serving(token=TOKEN) as (client, _, _):
        del client.headers["authorization"]
        assert set((await client.get("/")).json()) == {"message"}
        assert (await client.get("/health")).json() == {"status": "ok"}
        status = (await client.get("/status")).json()
        assert {"queue_size", "total_requests", "total_errors", "pool"} <= set(status)
        pool = status["pool"]
        assert (pool["total_slots"], pool["available_slots"], pool["acquired_slots"]) == (4, 4, 0)
        assert (pool["containers"], pool["started"]) == (1, True)
        assert sum(pool["slots_by_state"].values()) == 4


@pytest.mark.parametrize(
    ("header", "status", "detail"),
    [
        (None, 401, "Missing Authorization header"),
        ("", 401, "Missing Authorization header"),
        ("Basic abc", 401, "Invalid Authorization header"),
        ("Bearer", 401, "Invalid Authorization header"),
        ("Bearer wrong", 403, "Invalid token"),
        (f"bearer {TOKEN}", 200, None),
        (f"Bearer   {TOKEN}", 200, None),
    ],
)
async def test_the_token_is_asked_for_as_the_ancestor_does(
    header: str | None, status: int, detail: str | None
) -> None:
    """401 without one or malformed, 403 with a wrong one, by the ancestor's words."""
    async with serving(token=TOKEN) as (client, _, _):
        del client.headers["authorization"]
        headers = {} if header is None else {"authorization": header}
        for path, body in (("/execute", bash("true")), ("/release", {"trajectory_id": "t"})):
            answer = await client.post(path, json=body, headers=headers)
            assert answer.status_code == status
            if detail is not None:
                assert answer.json()["detail"] == detail
                assert answer.headers["content-type"] == "application/problem+json"
                assert answer.json()["status"] == status


async def test_every_route_beyond_the_open_ones_wants_the_token() -> None:
    """None was forgotten."""
    async with serving(token=TOKEN) as (client, _, _):
        del client.headers["authorization"]
        document = (await client.get("/openapi.json")).json()
        for path, operations in document["paths"].items():
            for method in operations:
                answer = await client.request(method.upper(), path)
                open_to_all = path in {"/", "/health", "/ready", "/status"}
                assert answer.status_code == (200 if open_to_all else 401), path


async def test_a_call_is_run_and_answered_with_all_its_members() -> None:
    """The ancestor's five, and who failed."""
    async with serving() as (client, _, _):
        answer = await client.post("/execute", json=bash("echo hi", timeout_s=5))
        assert answer.status_code == 200
        body = answer.json()
        assert set(body) == {"success", "output", "error", "metadata", "uniq_id", "provenance"}
        assert (body["success"], body["output"], body["uniq_id"]) == (True, "hi", "u-1")
        failed = (await client.post("/execute", json=bash("exit 3"))).json()
        assert (failed["success"], failed["error"]) == (False, "Exit code: 3")
        assert (failed["metadata"]["exit_code"], failed["provenance"]) == (3, "tool_error")
        unknown = (await client.post("/execute", json={"trajectory_id": "t", "tool": {"name": "x"}})).json()
        assert unknown["error"] == "Unknown tool: x"
        status = (await client.get("/status")).json()
        assert (status["total_requests"], status["total_errors"]) == (3, 2)


async def test_a_slot_is_kept_until_it_is_released() -> None:
    """With its workspace; afterwards there is another one."""
    async with serving() as (client, _, _):
        await client.post("/execute", json=bash("echo one >> f"))
        assert (await client.post("/execute", json=bash("cat f"))).json()["output"] == "one"
        assert (await client.get("/status")).json()["pool"]["acquired_slots"] == 1
        released = await client.post("/release", json={"trajectory_id": "t", "reset_workspace": True})
        assert (released.status_code, released.json()) == (200, {"status": "ok"})
        assert (await client.get("/status")).json()["pool"]["acquired_slots"] == 0
        assert not (await client.post("/execute", json=bash("cat f"))).json()["success"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", ""),
        (b"[]", ""),
        (b"{", ""),
        (b'"\xff\xfe"', ""),
        (b"[" * 100_000 + b"]" * 100_000, ""),
        (b'{"trajectory_id": "t"}', "tool"),
        (b'{"trajectory_id": 7, "tool": {"name": "bash"}}', "trajectory_id"),
        (b'{"trajectory_id": "", "tool": {"name": "bash"}}', "trajectory_id"),
        (b'{"trajectory_id": "t", "tool": {"name": null}}', "tool.name"),
        (b'{"trajectory_id": "t", "tool": {"name": "bash", "arguments": []}}', "tool.arguments"),
        (b'{"trajectory_id": "t", "tool": {"name": "bash"}, "timeout_s": "long"}', "timeout_s"),
        (b'{"trajectory_id": "t", "tool": {"name": "bash"}, "timeout_s": 1e999}', ""),
    ],
)
async def test_what_is_no_request_is_refused_by_name(body: bytes, field: str) -> None:
    """422 as in the ancestor, and the member that is wrong. Members that nobody knows are passed over."""
    async with serving() as (client, _, _):
        answer = await client.post("/execute", content=body)
        assert answer.status_code == 422
        assert answer.json()["field"] == field
        fine = bash("echo hi", unheard_of=1)
        fine["tool"]["also_unheard_of"] = 2
        assert (await client.post("/execute", json=fine)).json()["output"] == "hi"


async def test_unknown_paths_and_methods_are_told() -> None:
    """In the ancestor's words."""
    async with serving() as (client, _, _):
        missing = await client.get("/nothing")
        assert (missing.status_code, missing.json()["detail"]) == (404, "Not Found")
        wrong = await client.get("/execute")
        assert (wrong.status_code, wrong.json()["detail"]) == (405, "Method Not Allowed")
        deleted = await client.delete("/files")
        assert set(deleted.headers["allow"].split(", ")) == {"GET", "HEAD", "PUT"}


async def test_a_batch_is_answered_in_the_order_of_its_calls() -> None:
    """Calls of one trajectory run in that order too."""
    async with serving() as (client, _, _):
        calls = [bash("echo a >> f"), bash("echo b", trajectory="other"), bash("cat f")]
        answer = await client.post("/batch", json={"calls": calls})
        assert [each["output"] for each in answer.json()["results"]] == ["", "b", "a"]
        assert (await client.post("/batch", json={"calls": []})).json() == {"results": []}
        bad = await client.post("/batch", json={"calls": [calls[0], {"tool": {}}]})
        assert (bad.status_code, bad.json()["field"]) == (422, "calls.1.trajectory_id")
        many = await client.post("/batch", json={"calls": calls * 100})
        assert (many.status_code, many.json()["field"]) == (422, "calls")


async def events_of(client: httpx.AsyncClient, path: str, body: Any) -> list[tuple[str, Any]]:
    """The events of a streamed answer."""
    found, name = [], ""
    headers = {"accept": "text/event-stream"}
    async with client.stream("POST", path, json=body, headers=headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        async for line in answer.aiter_lines():
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                found.append((name, httpx.Response(200, content=line.removeprefix("data: ")).json()))
    return found


async def test_output_is_streamed_when_it_is_asked_for() -> None:
    """Pieces first, the result last."""
    async with serving() as (client, _, _):
        told = await events_of(client, "/execute", bash("echo one && echo two"))
        assert [name for name, _ in told][-1] == "result"
        text = "".join(data["text"] for name, data in told if name == "output")
        assert text == "one\ntwo\n"
        assert told[-1][1]["success"]


async def test_a_batch_is_streamed_as_its_calls_end() -> None:
    """The slow one does not hold the quick one back."""
    async with serving() as (client, _, _):
        calls = [bash("sleep 0.3", trajectory="slow"), bash("true", trajectory="quick")]
        told = await events_of(client, "/batch", {"calls": calls})
        assert [data.get("index") for _, data in told] == [1, 0, None]
        assert told[-1] == ("end", {"results": 2})


async def test_a_quiet_slot_runs_the_verifier_and_refuses_the_agent() -> None:
    """Until it is reopened or released."""
    async with serving() as (client, _, _):
        await client.post("/execute", json=bash("echo done >> answer"))
        verifier = bash("cat answer")
        quiet = (await client.post("/quiesce", json=verifier)).json()
        assert (quiet["status"], quiet["result"]["output"]) == ("quiet", "done")
        refused = (await client.post("/execute", json=bash("echo more >> answer"))).json()
        assert refused["provenance"] == "denied"
        again = (await client.post("/quiesce", json={"trajectory_id": "t", "reopen": True})).json()
        assert again == {"status": "open", "result": None}
        assert (await client.post("/execute", json=bash("cat answer"))).json()["output"] == "done"


async def test_a_request_with_a_key_runs_once() -> None:
    """The second one is given the first one's answer; another body is an error."""
    async with serving() as (client, _, _):
        headers = {"idempotency-key": "k"}
        once = bash("echo x >> f && cat f")
        first = await client.post("/execute", json=once, headers=headers)
        second = await client.post("/execute", json=once, headers=headers)
        assert first.content == second.content
        assert first.json()["output"] == "x"
        other = await client.post("/execute", json=bash("true"), headers=headers)
        assert other.status_code == 422
        empty = await client.post("/execute", json=once, headers={"idempotency-key": "k" * 300})
        assert empty.status_code == 422


async def test_a_key_in_use_is_a_conflict_and_a_client_that_left_is_remembered() -> None:
    """What may have run is not run again."""
    async with serving() as (client, _, executor), trio.open_nursery() as nursery:
        headers = {"idempotency-key": "k"}
        slow = bash("echo x >> f && sleep 30")
        leaving = trio.CancelScope()

        async def ask_and_leave() -> None:
            with leaving:
                await client.post("/execute", json=slow, headers=headers)

        nursery.start_soon(ask_and_leave)
        await wait_until(executor, lambda: executor.statistics().slots.leased == 1)
        conflict = await client.post("/execute", json=slow, headers=headers)
        assert conflict.status_code == 409
        leaving.cancel()
        await wait_until(executor, lambda: not executor.statistics().in_flight)
        again = await client.post("/execute", json=slow, headers=headers)
        assert (again.status_code, again.json()["provenance"]) == (200, "cancelled")
        assert (await client.post("/execute", json=bash("cat f"))).json()["output"] == "x"


async def test_a_client_that_leaves_ends_its_call() -> None:
    """The slot is free for the next call long before the command would have ended."""
    async with serving() as (client, _, executor):
        with trio.move_on_after(0.3):
            await client.post("/execute", json=bash("sleep 500", timeout_s=600))
        with trio.fail_after(5):
            await wait_until(executor, lambda: not executor.statistics().in_flight)
            assert (await client.post("/execute", json=bash("echo next"))).json()["output"] == "next"


async def test_waiting_for_a_slot_has_an_end() -> None:
    """By the ancestor's words."""
    async with serving(slots=1, acquire_limit_s=0.2) as (client, _, _):
        await client.post("/execute", json=bash("true"))
        answer = (await client.post("/execute", json=bash("true", trajectory="late"))).json()
        assert answer["error"].startswith("Failed to acquire slot: ")
        assert answer["provenance"] == "unavailable"
        ((name, streamed),) = await events_of(client, "/execute", bash("true", trajectory="late"))
        assert (name, streamed["error"]) == ("result", answer["error"])


async def test_what_needs_no_slot_waits_for_none() -> None:
    """A tool of another place may take longer than a slot may be waited for."""

    async def lookup() -> str:
        """Take a while."""
        await trio.sleep(0.5)  # longer than a slot is waited for
        return "found"

    tools = registry_of("bash", tools=[python_tool(lookup)])
    async with serving(slots=1, acquire_limit_s=0.1, tools=tools) as (client, _, _):
        answer = await client.post("/execute", json={"trajectory_id": "t", "tool": {"name": "lookup"}})
        assert answer.json()["output"] == "found"


async def test_events_are_told_as_they_happen() -> None:
    """A snapshot first; then what was asked for, numbered."""
    async with serving() as (client, server, _):
        async with await trio.open_tcp_stream("127.0.0.1", server.port) as stream:
            await stream.send_all(
                b"GET /events?kinds=call_queued,call_ended HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
            )
            told = await read_until(stream, b"event: snapshot\n")
            await client.post("/execute", json=bash("true"))
            told += await read_until(stream, b"event: call_ended\n")
        names = [line for line in told.decode().splitlines() if line.startswith(("event: ", "id: "))]
        assert names[1::2] == ["event: snapshot", "event: call_queued", "event: call_ended"]
        wrong = await client.get("/events", params={"kinds": "nonsense"})
        assert (wrong.status_code, wrong.json()["field"]) == (422, "kinds")


async def read_until(stream: trio.abc.ReceiveStream, mark: bytes) -> bytes:
    """Bytes up to and with the mark, and what came along."""
    data = b""
    with trio.fail_after(10):
        while mark not in data:
            piece = await stream.receive_some()
            assert piece, data
            data += piece
    return data


async def test_ready_says_whether_calls_can_be_served() -> None:
    """Not without a daemon."""
    fake = FakeDaemon(slots=1)
    async with (
        open_executor(MemoryBackend({"d": fake})) as executor,
        open_server(executor) as server,
        httpx.AsyncClient(base_url=server.url) as client,
    ):
        assert (await client.get("/ready")).status_code == 200
        fake.kill()
        with trio.fail_after(5):
            await wait_until(executor, lambda: executor.statistics().slots.closed == 1)
            assert (await client.get("/ready")).status_code == 503


async def test_stopping_lets_requests_finish_within_their_grace() -> None:
    """What is under way is answered; nobody new is let in."""
    answers = []
    async with trio.open_nursery() as nursery, serving() as (_, server, executor):

        async def ask() -> None:
            async with httpx.AsyncClient(base_url=server.url, timeout=10) as other:
                answers.append((await other.post("/execute", json=bash("sleep 0.5"))).json())

        nursery.start_soon(ask)
        await wait_until(executor, lambda: executor.statistics().in_flight == 1)
    assert answers[0]["success"]


async def test_stopping_drops_what_takes_longer_than_the_grace() -> None:
    """The server ends within the bound all the same."""
    limits = ApiLimits(shutdown_grace_s=0.3)
    async with trio.open_nursery() as nursery:
        async with serving(limits=limits) as (_, server, executor):

            async def ask() -> None:
                async with httpx.AsyncClient(base_url=server.url, timeout=10) as other:
                    with pytest.raises(httpx.HTTPError):
                        await other.post("/execute", json=bash("sleep 100"))

            nursery.start_soon(ask)
            await wait_until(executor, lambda: executor.statistics().in_flight == 1)
            before = trio.current_time()
        assert trio.current_time() - before < 5


async def test_a_server_is_a_task_too() -> None:
    """Cancelling it stops it."""
    async with open_executor(MemoryBackend({"d": FakeDaemon(slots=1)})) as executor:
        async with trio.open_nursery() as nursery:
            server = await nursery.start(serve_api, executor)
            async with httpx.AsyncClient(base_url=server.url) as client:
                assert (await client.get("/health")).status_code == 200
            with pytest.raises(UnavailableError):
                async with open_server(executor, port=server.port):
                    pass
            nursery.cancel_scope.cancel()
        with pytest.raises(InvalidInputError):
            async with open_server(executor, host="0.0.0.0"):
                pass


async def test_figures_are_told_to_prometheus() -> None:
    """By its conventions, and true."""
    async with serving() as (client, _, _):
        await client.post("/execute", json=bash("true"))
        await client.post("/execute", json=bash("exit 1"))
        answer = await client.get("/metrics")
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        lines = answer.text.splitlines()
        assert 'hermes_trio_calls_total{provenance="ok"} 1.0' in lines
        assert 'hermes_trio_calls_total{provenance="tool_error"} 1.0' in lines
        assert 'hermes_trio_slots{state="leased"} 1.0' in lines
        assert "hermes_trio_call_duration_seconds_count 2.0" in lines
        assert 'hermes_trio_call_duration_seconds_bucket{le="600"} 2.0' in lines


async def test_a_fork_that_cannot_be_is_refused() -> None:
    """A trajectory without a slot has nothing to fork; names have bounds."""
    async with serving() as (client, _, _):
        none = await client.post("/fork", json={"trajectory_id": "t", "into": ["a"]})
        assert (none.status_code, none.json()["field"]) == (409, "trajectory_id")
        await client.post("/execute", json=bash("true"))
        await client.post("/execute", json=bash("true", trajectory="other"))
        taken = await client.post("/fork", json={"trajectory_id": "t", "into": ["a", "other"]})
        assert (taken.status_code, taken.json()["field"]) == (409, "into")
        many = await client.post("/fork", json={"trajectory_id": "t", "into": list("abc")})
        assert (many.status_code, many.headers["retry-after"]) == (409, "1")
        itself = await client.post("/fork", json={"trajectory_id": "t", "into": ["t"]})
        assert (itself.status_code, itself.json()["field"]) == (409, "into")
        for into in ([], ["a", "a"]):
            wrong = await client.post("/fork", json={"trajectory_id": "t", "into": into})
            assert (wrong.status_code, wrong.json()["field"]) == (422, "into")
        long = await client.post("/fork", json={"trajectory_id": "t", "into": ["x" * 600]})
        assert (long.status_code, long.json()["field"]) == (422, "into")


LATE: dict[str, Any] = {"trajectory_id": "late"}
FILE: dict[str, Any] = {**LATE, "path": "f"}


@pytest.mark.parametrize(
    ("method", "route", "request_parts"),
    [
        ("POST", "/quiesce", {"json": LATE}),
        ("POST", "/quiesce", {"json": {**LATE, "tool": bash("true")["tool"]}}),
        ("POST", "/artifacts/read", {"json": FILE}),
        ("POST", "/artifacts/list", {"json": FILE}),
        ("POST", "/artifacts/archive", {"json": FILE}),
        ("GET", "/files", {"params": FILE}),
        ("PUT", "/files", {"params": FILE, "content": b"x"}),
        ("GET", "/trees", {"params": FILE}),
        ("PUT", "/trees", {"params": FILE, "content": b"x"}),
    ],
)
async def test_whatever_waits_behind_a_call_without_a_slot_has_an_end_too(
    method: str, route: str, request_parts: dict[str, Any]
) -> None:
    """It is asked of a trajectory whose first call waits for a slot, and gets none in time."""
    async with serving(slots=1, acquire_limit_s=0.3) as (client, _, executor):
        await client.post("/execute", json=bash("true"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(client.post, "/execute", json=bash("true", trajectory="late")))
            await wait_until(executor, lambda: executor.has_slot("late"))
            with trio.fail_after(5):
                answer = await client.request(method, route, **request_parts)
        assert (answer.status_code, answer.json()["field"]) == (409, "trajectory_id")
        assert answer.headers["retry-after"] == "1"
        assert not executor.has_slot("late")
        await client.post("/release", json={"trajectory_id": "t", "reset_workspace": True})
        assert (await client.post("/execute", json=bash("true", trajectory="late"))).json()["success"]


async def test_a_verifier_without_a_slot_is_told_so_in_its_result() -> None:
    """As every call is: its trajectory has none yet, and is quiet all the same."""
    async with serving(slots=1, acquire_limit_s=0.3) as (client, _, _):
        await client.post("/execute", json=bash("true"))
        body = {"trajectory_id": "late", "tool": bash("true")["tool"]}
        with trio.fail_after(5):
            told = await client.post("/quiesce", json=body)
        assert (told.status_code, told.json()["status"]) == (200, "quiet")
        assert told.json()["result"]["provenance"] == "unavailable"
        assert told.json()["result"]["error"].startswith("Failed to acquire slot")
