"""Where MCP servers are: the file that MCP clients share, and the two kinds of places."""

from __future__ import annotations

from pathlib import Path

import pytest

from hermes_trio.errors import InvalidInputError
from hermes_trio.tools.mcp.config import McpProgram, McpUrl, read_mcp_config
from hermes_trio.tools.mcp.results import model_name


def _file(folder: Path, text: str) -> Path:
    path = folder / "mcp.json"
    path.write_text(text)
    return path


def test_programs_and_urls_are_read(tmp_path: Path) -> None:
    """By name, in the order of the file."""
    text = """{"mcpServers": {
        "files": {"command": "npx", "args": ["-y", "server"], "env": {"KEY": "secret"}, "cwd": "/tmp"},
        "web": {"url": "https://example.org/mcp", "headers": {"Authorization": "Bearer secret"}}
    }}"""
    servers = read_mcp_config(_file(tmp_path, text))
    assert servers == {
        "files": McpProgram(command=("npx", "-y", "server"), env={"KEY": "secret"}, cwd="/tmp"),
        "web": McpUrl(url="https://example.org/mcp", headers={"Authorization": "Bearer secret"}),
    }
    assert "secret" not in repr(servers)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{\n x}", "mcp.json:2: is not JSON"),
        ("[]", "field 'mcpServers': must be an object"),
        ('{"mcpServers": {"a": 3}}', "field 'mcpServers.a': must be an object"),
        ('{"mcpServers": {"a": {}}}', "field 'mcpServers.a.command': must be a text"),
        ('{"mcpServers": {"a": {"command": ""}}}', "field 'mcpServers.a.command': there is no program"),
        ('{"mcpServers": {"a": {"command": "x", "args": "y"}}}', "field 'mcpServers.a.args': must be a list"),
        ('{"mcpServers": {"a": {"command": "x", "env": {"A": 1}}}}', "field 'mcpServers.a.env'"),
        ('{"mcpServers": {"a": {"command": "x", "cwd": 1}}}', "field 'mcpServers.a.cwd': must be a text"),
        ('{"mcpServers": {"a": {"url": "ftp://x"}}}', "field 'mcpServers.a.url': must begin with http"),
    ],
)
def test_a_mistake_is_told_with_file_and_member(tmp_path: Path, text: str, says: str) -> None:
    """In one line."""
    with pytest.raises(InvalidInputError) as caught:
        read_mcp_config(_file(tmp_path, text))
    assert says in str(caught.value)
    assert "mcp.json" in str(caught.value)


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    """Not there, or no text."""
    with pytest.raises(InvalidInputError, match="cannot be read: No such file"):
        read_mcp_config(tmp_path / "nope.json")
    (tmp_path / "mcp.json").write_bytes(b"\xff")
    with pytest.raises(InvalidInputError, match="is not UTF-8"):
        read_mcp_config(tmp_path / "mcp.json")


def test_names_are_made_fit_for_chat_completions() -> None:
    """Letters, digits, _ and -, at most 64."""
    assert model_name("files.read/all é") == "files_read_all__"
    assert model_name("x" * 100) == "x" * 64
