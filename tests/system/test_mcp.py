"""Tools of real MCP servers, over standard input and output and over HTTP, also of servers that misbehave."""

from __future__ import annotations

import gc
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from hermes_trio.agents.loop import AgentLoop
from hermes_trio.errors import Provenance, UnavailableError
from hermes_trio.executor.executor import open_executor
from hermes_trio.testing.doubles import ListedChat, says, tool_call
from hermes_trio.testing.fake_daemon import FakeDaemon
from hermes_trio.testing.memory_backend import MemoryBackend
from hermes_trio.tools.calls import ToolCall, ToolResult
from hermes_trio.tools.mcp.config import McpLimits, McpPlace, McpProgram, McpUrl
from hermes_trio.tools.mcp.server import McpServer, open_mcp_server
from hermes_trio.tools.registry import ToolRegistry, registry_of
from hermes_trio.tools.run import run_handler
from hermes_trio.tools.tool import ToolContext
from hermes_trio.tools.wrappers import prefixed

pytestmark = pytest.mark.slow

SERVER = str(Path(__file__).parent / "programs" / "mcp_server.py")
HOSTILE = str(Path(__file__).parent / "programs" / "hostile_mcp_server.py")
PROGRAM = McpProgram(command=(sys.executable, SERVER), env={"MINE": "1"})
NAMES = ("add", "files_read_all", "environment", "fail", "print_much", "die", "hang", "leave_child")
QUICK = McpLimits(restart_pause_s=0.01)


@asynccontextmanager
async def http_server() -> AsyncIterator[McpUrl]:
    """The same server behind streamable HTTP, ready."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, SERVER, "http", str(port)]
    process = await trio.lowlevel.open_process(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert process.stderr is not None
    try:
        told = b""
        with trio.fail_after(60):
            while b"running on" not in told:
                told += await process.stderr.receive_some()
        yield McpUrl(url=f"http://127.0.0.1:{port}/mcp")
    finally:
        with trio.CancelScope(shield=True):
            process.kill()
            await process.wait()
            await process.stderr.aclose()


@asynccontextmanager
async def server_over(transport: str) -> AsyncIterator[McpPlace]:
    """Where the server is."""
    if transport == "stdio":
        yield PROGRAM
        return
    async with http_server() as place:
        yield place


async def run(server: McpServer, name: str, limit_s: float = 20.0, **arguments: Any) -> ToolResult:
    """One call, as executors and ToolServers make it."""
    tool = ToolRegistry(server.tools).tool(name)
    assert tool is not None
    return await run_handler(tool, ToolCall(name, arguments, uniq_id="u"), ToolContext(limit_s=limit_s))


def no_process_of(program: str) -> bool:
    """Whether nothing runs this program any more."""
    return not any(program in _command(entry) for entry in os.listdir("/proc") if entry.isdigit())


def is_alive(pid: int) -> bool:
    """Whether there is such a process, and not only its corpse."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("transport", ["stdio", "http"])
async def test_its_tools_are_tools_of_ours(transport: str) -> None:
    """Names that a model may use, schemas that are checked, results with who failed."""
    async with server_over(transport) as place, open_mcp_server(place, name="test") as server:
        assert [tool.name for tool in server.tools][: len(NAMES)] == list(NAMES)
        add = ToolRegistry(server.tools).get("add")
        assert add is not None
        assert (add.description, add.required) == ("Add two numbers.", ("a",))
        assert await run(server, "add", a=2) == ToolResult(True, "3", uniq_id="u")
        assert (await run(server, "files_read_all")).output == "odd"
        failed = await run(server, "fail")
        assert (failed.success, failed.provenance) == (False, Provenance.TOOL_ERROR)
        assert "fail" in failed.output
        assert repr(server) == f"<McpServer test up, {len(server.tools)} tools, 0 restarts>"


async def test_a_model_calls_it_through_loop_and_executor() -> None:
    """One registry for executor and loop, beside tools of the sandbox."""
    async with open_mcp_server(PROGRAM) as server:
        registry = registry_of("bash", tools=prefixed(server.tools, "calc_"))
        backend = MemoryBackend({"d": FakeDaemon(slots=1)})
        async with open_executor(backend, tools=registry) as executor:
            calls = [tool_call("calc_add", '{"a": 1}', "a"), tool_call("calc_add", '{"a": "1"}', "b")]
            model = ListedChat([says("", *calls), says("done")])
            loop = AgentLoop(model, registry, executor)
            result = await loop.run([{"role": "user", "content": "go"}], trajectory_id="t")
    assert '"output": "2"' in result.messages[2]["content"]
    assert "'a' must be integer, not string" in result.messages[3]["content"]
    assert result.finished_naturally


async def test_it_gets_no_more_of_our_environment_than_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens of ours are not its business."""
    monkeypatch.setenv("OUR_SECRET_TOKEN", "secret")
    async with open_mcp_server(PROGRAM) as server:
        names = (await run(server, "environment")).output.split("\n")
    assert "OUR_SECRET_TOKEN" not in names
    assert {"MINE", "PATH"} <= set(names)


async def test_a_server_that_dies_is_started_again_and_the_call_is_not_repeated() -> None:
    """The call under way is lost; the next one waits for the new server."""
    async with open_mcp_server(PROGRAM, name="test", limits=QUICK) as server:
        lost = await run(server, "die")
        assert (lost.success, lost.provenance) == (False, Provenance.LINK_LOST)
        assert lost.error == "The MCP server 'test' was lost during the call: it closed its output."
        assert (await run(server, "add", a=2)).output == "3"
        assert server.statistics().restarts == 1


async def test_a_server_that_dies_again_and_again_is_given_up() -> None:
    """Calls are then answered at once."""
    limits = McpLimits(restarts=1, restart_pause_s=0.01)
    async with open_mcp_server(PROGRAM, name="test", limits=limits) as server:
        assert (await run(server, "die")).provenance is Provenance.LINK_LOST
        assert (await run(server, "die")).provenance is Provenance.LINK_LOST
        gone = await run(server, "add", a=1)
        assert gone.provenance is Provenance.UNAVAILABLE
        assert gone.error == (
            "The MCP server 'test' is not there: it closed its output; it is given up after 1 restarts."
        )
        assert "given up" in repr(server)


def hostile(how: str) -> McpProgram:
    """A server that misbehaves when it is called."""
    return McpProgram(command=(sys.executable, HOSTILE, how))


@pytest.mark.parametrize(
    ("how", "says_why"),
    [
        ("line", "it sent a message of more than 1000000 bytes"),
        ("messages", "it sent 1000 messages that nobody asked for"),
        ("noise", "it sent 1000 messages that nobody asked for"),
    ],
)
async def test_a_server_that_floods_is_stopped(how: str, says_why: str) -> None:
    """By a line without an end, by log messages, by what is no message; then it counts as one that died."""
    limits = McpLimits(max_message_bytes=1_000_000, max_unasked=1000, restarts=1, restart_pause_s=0.01)
    async with open_mcp_server(hostile(how), name="test", limits=limits) as server:
        lost = await run(server, "call")
        assert lost.provenance is Provenance.LINK_LOST
        assert lost.error == f"The MCP server 'test' was lost during the call: {says_why}."
        assert (await run(server, "call")).provenance is Provenance.LINK_LOST
        assert (await run(server, "call")).provenance is Provenance.UNAVAILABLE
    assert no_process_of(HOSTILE)


async def test_a_server_that_reads_nothing_more_is_left_within_the_calls_limit() -> None:
    """Its input is full, and so the calls behind it cannot even be sent."""
    async with open_mcp_server(hostile("deaf"), limits=QUICK) as server:
        for _ in range(3):
            with trio.fail_after(10):
                late = await run(server, "call", 0.3, text="x" * 1_000_000)
            assert late.provenance is Provenance.LIMIT_EXCEEDED
    assert no_process_of(HOSTILE)


async def test_an_answer_that_is_no_result_is_the_tools_failure() -> None:
    """The connection is fine; a tool that cannot be offered is told of."""
    async with open_mcp_server(hostile("nonsense"), name="test") as server:
        result = await run(server, "call")
        assert result.provenance is Provenance.TOOL_ERROR
        assert "answered something else than a result" in result.error
        assert [tool.name for tool in server.tools] == ["call"]
        (left_out,) = server.statistics().left_out
        assert "tool 'bad': no JSON Schema" in left_out


async def test_a_flood_of_standard_error_is_let_through_and_forgotten() -> None:
    """13 MB, of which a few lines are kept."""
    async with open_mcp_server(PROGRAM) as server:
        assert (await run(server, "flood_stderr")).output == "done"
        assert len(server._connection.stderr) <= 16 * 1024


async def test_long_output_is_cut_and_says_so() -> None:
    """Like any handler's."""
    async with open_mcp_server(PROGRAM) as server:
        result = await run(server, "print_much", characters=1_000_000)
    assert len(result.output) < 200_100
    assert result.metadata["truncated"] is True


# The SDK's HTTP client leaves an answer that is too long half-read, and the library below it warns of its own
# generators then, whenever they are collected.
@pytest.mark.filterwarnings("ignore:Async generator 'httpcore:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_an_http_server_that_answers_without_end_is_left() -> None:
    """A bound on what one request is answered."""
    limits = McpLimits(max_message_bytes=1_000_000, restart_pause_s=0.01)
    async with http_server() as place, open_mcp_server(place, name="test", limits=limits) as server:
        result = await run(server, "print_much", characters=5_000_000)
        assert result.provenance is Provenance.LINK_LOST
        assert (await run(server, "add", a=2)).output == "3"
    gc.collect()


async def test_an_http_server_that_dies_is_a_lost_call() -> None:
    """And one that does not come back is given up."""
    limits = McpLimits(restarts=1, restart_pause_s=0.01)
    async with http_server() as place, open_mcp_server(place, name="test", limits=limits) as server:
        assert (await run(server, "die")).provenance is Provenance.LINK_LOST
        assert (await run(server, "add", a=1)).provenance in (Provenance.UNAVAILABLE, Provenance.LINK_LOST)


async def test_a_call_past_its_limit_is_ended_and_the_server_stays() -> None:
    """The SDK's server runs calls in threads, and answers others meanwhile."""
    async with open_mcp_server(PROGRAM, limits=QUICK) as server:
        late = await run(server, "hang", 0.3)
        assert late.provenance is Provenance.LIMIT_EXCEEDED
        assert (await run(server, "add", a=2)).output == "3"
        assert server.statistics().restarts == 0


@pytest.mark.parametrize("hangs", [False, True])
async def test_nothing_of_a_server_is_left_behind(hangs: bool) -> None:
    """Neither a program that hangs, nor what one that goes when it is asked has started."""
    async with open_mcp_server(PROGRAM) as server:
        child = int((await run(server, "leave_child")).output)
        assert is_alive(child)
        if hangs:
            await run(server, "hang", 0.1)
    assert not is_alive(child)


@pytest.mark.parametrize(
    ("place", "says_why"),
    [
        (McpProgram(command=["/nowhere/at/all"]), "cannot be started"),
        (McpProgram(command=["false"]), "cannot be used"),
        (McpProgram(command=["sh", "-c", "echo no module named x >&2; exit 1"]), r"\(no module named x\)"),
        (McpProgram(command=["sleep", "100"]), "did not tell its tools within 0.5 s"),
        (McpProgram(command=["yes"]), "cannot be used: it sent 1000 messages that nobody asked for"),
        (McpUrl(url="http://127.0.0.1:1/mcp"), "cannot be used"),
    ],
    ids=["no program", "ends at once", "last words", "hangs", "talks nonsense", "nobody there"],
)
async def test_a_server_that_does_not_come_up_is_one_sentence(place: McpPlace, says_why: str) -> None:
    """Within its limit, and nothing is left."""
    limits = McpLimits(connect_limit_s=0.5, max_unasked=1000)
    with pytest.raises(UnavailableError, match=says_why) as caught:
        async with open_mcp_server(place, name="test", limits=limits):
            pass
    assert "\n" not in str(caught.value)


async def test_leaving_by_a_cancel_ends_the_program() -> None:
    """While a call hangs."""
    pids: list[int] = []
    with trio.fail_after(30):
        async with open_mcp_server(PROGRAM) as server, trio.open_nursery() as nursery:
            pids.append(int((await run(server, "leave_child")).output))
            nursery.start_soon(run, server, "hang")
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
    assert not is_alive(pids[0])
    assert no_process_of(SERVER)


def _command(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""
