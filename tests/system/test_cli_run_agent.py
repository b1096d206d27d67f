"""``run`` with tools, dialects and limits of the user's own: real MCP server, real ToolServer, real HTTP."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import trio

from hermes_trio.testing.scripted import Policy, Reply, ScriptedCall, open_scripted_model
from hermes_trio.tools.functions import python_tool
from hermes_trio.tools.tool_server.server import ToolServerConfig, open_tool_server

PROGRAM = [sys.executable, "-m", "hermes_trio", "run"]
MCP_SERVER = Path(__file__).parent / "programs" / "mcp_server.py"
TASK = {"id": "a", "prompt": "Put the sum into the file.", "verifier": "test $(cat sum) = 42"}
QWEN = "<tool_call>\n<function={name}>\n{arguments}</function>\n</tool_call>"


def twice(number: int) -> str:
    """Double a number."""
    return str(2 * number)


def in_text(name: str, **arguments: str) -> Reply:
    """A call as qwen3-coder writes it, from a server that parses nothing."""
    parameters = "".join(f"<parameter={key}>\n{value}\n</parameter>\n" for key, value in arguments.items())
    return Reply(content=QWEN.format(name=name, arguments=parameters))


def scripted(*turns: Reply, seen: list[Any] | None = None) -> Policy:
    """One reply after another, then the end."""

    def policy(messages: Sequence[Any], tools: Sequence[Any]) -> Reply:
        if seen is not None:
            seen.append([tool["function"]["name"] for tool in tools])
        turn = sum(message["role"] == "assistant" for message in messages)
        return turns[turn] if turn < len(turns) else Reply(content="Done.")

    return policy


async def run(tmp_path: Path, policy: Policy, *words: str) -> tuple[subprocess.CompletedProcess[bytes], Any]:
    """The program on one task; its record, if it left one."""
    (tmp_path / "t.jsonl").write_text(json.dumps(TASK) + "\n")
    async with open_scripted_model(policy) as url:
        command = [*PROGRAM, "t.jsonl", "--model", url, "--slots", "1", "--out", "out", *words]
        with trio.fail_after(60):
            done = await trio.run_process(
                command,
                cwd=tmp_path,
                env=os.environ | {"TOKEN": "sesame"},
                capture_stdout=True,
                capture_stderr=True,
                check=False,
            )
    lines = tmp_path / "out" / "trajectories.jsonl"
    return done, json.loads(lines.read_bytes()) if lines.exists() else None


@pytest.mark.slow
async def test_a_run_has_the_dialect_and_the_tools_that_it_was_told(tmp_path: Path) -> None:
    """Three kinds of tools, called in the text of another dialect, with the tokens kept."""
    (tmp_path / "mcp.json").write_text(
        json.dumps({"mcpServers": {"sums": {"command": sys.executable, "args": [str(MCP_SERVER)]}}})
    )
    seen: list[Any] = []
    policy = scripted(
        in_text("sums_add", a="20", b="1"),
        in_text("twice", number="21"),
        in_text("bash", command="echo 42 > sum"),
        seen=seen,
    )
    async with open_tool_server([python_tool(twice)], config=ToolServerConfig(token="sesame")) as url:
        done, record = await run(
            tmp_path,
            policy,
            *(
                "--parser",
                "qwen3_coder",
                "--tools",
                "bash,todo",
                "--mcp",
                "mcp.json",
                "--without",
                "sums_die",
            ),
            *("--tool-server", url, "--tool-server-token-env", "TOKEN", "--token-ids"),
        )
    assert done.returncode == 0, done.stderr
    assert {"bash", "todo", "sums_add", "twice"} <= set(seen[0])
    assert not {"terminal", "write_file", "sums_die"} & set(seen[0])
    assert [call["tool"] for call in record["tool_calls"]] == ["sums_add", "twice", "bash"]
    answers = [message["content"] for message in record["messages"] if message["role"] == "tool"]
    assert "21" in answers[0]
    assert "42" in answers[1]
    assert record["text_only"] is None
    rows = record["training_rows"]
    assert sum(sum(row["mask"]) for row in rows) == record["tokens"]["completion_tokens"]
    assert b"sesame" not in (tmp_path / "out" / "summary.json").read_bytes() + done.stdout + done.stderr


@pytest.mark.slow
async def test_a_run_keeps_to_the_limits_that_it_was_told(tmp_path: Path) -> None:
    """Of calls and of one call's time; without ids, the record says that there are none."""
    policy = scripted(*(Reply(calls=(ScriptedCall.of("bash", command="sleep 60"),)) for _ in range(9)))
    done, record = await run(tmp_path, policy, "--call-s", "1", "--max-tool-calls", "2")
    assert done.returncode == 1, done.stderr
    assert [call["provenance"] for call in record["tool_calls"]] == ["limit_exceeded"] * 2
    assert record["outcome"] == "limit_exceeded"
    assert (record["training_rows"], record["text_only"] is None) == ([], False)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("--tool-server", "http://127.0.0.1:1"), 3, b"The ToolServer's tools cannot be asked for"),
        (("--mcp", "gone.json"), 3, b"The MCP server 'gone' cannot be used"),
        (("--tools", "fish"), 2, b"hermes-trio: --tools: unknown toolset or tool 'fish'"),
    ],
)
async def test_a_server_or_a_tool_that_is_not_there_is_one_line(
    tmp_path: Path, words: tuple[str, ...], code: int, told: bytes
) -> None:
    """Before a daemon was started."""
    (tmp_path / "gone.json").write_text('{"mcpServers": {"gone": {"command": "/no/such/program"}}}')
    done, record = await run(tmp_path, scripted(), *words)
    assert (done.returncode, done.stderr.count(b"\n"), record) == (code, 1, None), done.stderr
    assert told in done.stderr


@pytest.mark.slow
async def test_a_tool_of_a_server_does_not_replace_one_of_ours(tmp_path: Path) -> None:
    """Set-ups would run somewhere else."""
    async with open_tool_server([python_tool(twice, name="bash")]) as url:
        done, _ = await run(tmp_path, scripted(), "--tool-server", url)
    assert done.returncode == 2
    assert done.stderr.startswith(b"hermes-trio: --tool-server: a server has a tool 'bash'")
