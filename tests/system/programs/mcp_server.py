"""An MCP server for the tests, made with the official SDK. Arguments: none, or ``http PORT``."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from mcp.server import MCPServer

server = MCPServer("test")


@server.tool()
def add(a: int, b: int = 1) -> str:
    """Add two numbers."""
    return str(a + b)


@server.tool(name="files.read/all", description="A name that chat completions do not allow.")
def odd() -> str:
    """Be odd."""
    return "odd"


@server.tool()
def environment() -> str:
    """Show the environment."""
    return "\n".join(sorted(os.environ))


@server.tool()
def fail() -> str:
    """Raise."""
    raise ValueError("no such thing")


@server.tool()
def print_much(characters: int) -> str:
    """Answer so many characters."""
    return "x" * characters


@server.tool()
def die() -> str:
    """End without a word on standard output."""
    sys.stderr.write("something broke\n")
    sys.stderr.flush()
    os._exit(3)


@server.tool()
def hang() -> str:
    """Never answer."""
    time.sleep(3600)
    return ""


@server.tool()
def leave_child() -> str:
    """Start a process that outlives us, if nobody sees to it; its pid."""
    return str(subprocess.Popen(["sleep", "1000"]).pid)


@server.tool()
def flood_stderr() -> str:
    """Print to standard error, a lot."""
    for _ in range(200):
        os.write(2, b"y" * 65536)
    return "done"


if __name__ == "__main__":
    if sys.argv[1:2] == ["http"]:
        server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[2]))
    else:
        server.run()
