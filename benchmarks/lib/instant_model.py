"""A model server that costs next to nothing, as a child process: a fixed answer by the number of turns.

It asks for a tool until the transcript has enough answers of one, and then is done. Nothing is parsed but
lengths: what is measured is the client. An argument is how many seconds it thinks before each answer, so that
requests are under way together. The URL is the first line of its output; it ends with its input.
"""

from __future__ import annotations

import sys
from itertools import count

import orjson
import trio

TURNS = 10
"""Model calls of one loop: nine with a tool call, and the last."""

_ANSWERED = b'"role":"tool"'
_ids = count()


def _answer(request: bytes) -> bytes:
    if request.count(_ANSWERED) < TURNS - 1:
        function = {"name": "noop", "arguments": '{"text": "' + "x" * 200 + '"}'}
        call = {"id": f"call_{next(_ids)}", "type": "function", "function": function}
        message, reason = {"role": "assistant", "content": None, "tool_calls": [call]}, "tool_calls"
    else:
        message, reason = {"role": "assistant", "content": "done"}, "stop"
    usage = {"prompt_tokens": len(request) // 4, "completion_tokens": 60, "total_tokens": 60}
    choice = {"index": 0, "message": message, "finish_reason": reason}
    body = orjson.dumps(
        {"id": "c", "object": "chat.completion", "model": "m", "choices": [choice], "usage": usage}
    )
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def _serve(stream: trio.SocketStream, delay_s: float) -> None:
    """One connection: whole requests with a length, one after another."""
    held = bytearray()
    await trio.lowlevel.checkpoint()
    while chunk := await stream.receive_some(262_144):
        held += chunk
        while (end := held.find(b"\r\n\r\n")) >= 0:
            length_at = held.lower().find(b"content-length:", 0, end)
            size = end + 4 + int(held[length_at + 15 : held.find(b"\r\n", length_at)])
            if len(held) < size:
                break
            if delay_s:
                await trio.sleep(delay_s)
            await stream.send_all(_answer(bytes(held[:size])))
            del held[:size]


async def _quietly(stream: trio.SocketStream) -> None:
    try:
        await _serve(stream, float(sys.argv[1]) if len(sys.argv) > 1 else 0.0)
    except trio.BrokenResourceError:
        await trio.lowlevel.checkpoint()
    finally:
        await trio.aclose_forcefully(stream)


async def _main() -> None:
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1", backlog=4096)
        nursery.start_soon(trio.serve_listeners, _quietly, [listener])
        print(f"http://127.0.0.1:{listener.socket.getsockname()[1]}/v1", flush=True)
        await trio.to_thread.run_sync(sys.stdin.buffer.read)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(_main)
