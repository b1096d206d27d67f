"""An MCP server without manners, in plain JSON lines. Its argument says what it does when it is called."""

from __future__ import annotations

import json
import sys
import time

TOOLS = [
    {"name": "call", "inputSchema": {"type": "object"}},
    {"name": "bad", "inputSchema": {"type": "object", "properties": {"a": {"type": "nonsense"}}}},
]
RESULTS = {
    "initialize": {
        "protocolVersion": "2025-06-18",
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "x", "version": "1"},
    },
    "tools/list": {"tools": TOOLS},
}
NOTE = json.dumps(
    {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "x"}}
)


def answer(request_id: object, **members: object) -> None:
    """One line."""
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": request_id, **members}) + "\n")
    sys.stdout.flush()


for line in sys.stdin:
    request = json.loads(line)
    if "id" not in request:
        continue
    if request["method"] in RESULTS:
        answer(request["id"], result=RESULTS[request["method"]])
    elif request["method"] != "tools/call":
        answer(request["id"], error={"code": -32601, "message": "not known"})
    elif sys.argv[1] == "line":
        while True:
            sys.stdout.write("x" * 65536)
    elif sys.argv[1] == "messages":
        while True:
            sys.stdout.write((NOTE + "\n") * 100)
    elif sys.argv[1] == "noise":
        while True:
            sys.stdout.write("no JSON\n" * 100)
    elif sys.argv[1] == "deaf":
        time.sleep(3600)
    elif sys.argv[1] == "nonsense":
        answer(request["id"], result={"content": 3})
