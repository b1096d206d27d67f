"""External tools: the client of a ToolServer, in the ancestor's wire shapes."""

from __future__ import annotations

from typing import Any

import httpx
import trio

from hermes_trio.errors import Provenance
from hermes_trio.tools.calls import ToolCall, ToolResult
from hermes_trio.wire.frames import Lease


class ToolServerClient:
    """Asks a ToolServer to run calls.

    Args:
        url: its base URL.
        token: its bearer token; ``None``: it wants none.
    """

    def __init__(self, url: str, *, token: str | None) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        # The limit of each call is a cancel scope around it; httpx's own timeouts would only be a second,
        # different limit.
        self._http = httpx.AsyncClient(base_url=url.rstrip("/"), headers=headers, timeout=None)  # noqa: S113

    async def execute(
        self, trajectory_id: str, call: ToolCall, *, limit_s: float, lease: Lease | None
    ) -> ToolResult:
        """Run one call there.

        Cancellation: abandons; the connection is closed, which tells the server.

        Args:
            trajectory_id: passed on.
            call: passed on.
            limit_s: seconds until the answer is given up.
            lease: the trajectory's slot, passed on as context.

        Returns:
            The server's result, or one that says why there is none: never raises for what a server does.
        """
        request = _request(trajectory_id, call, limit_s, lease)
        with trio.move_on_after(limit_s):
            return await self._ask(call, request)
        return _failed(call, f"no answer within {limit_s} s", Provenance.LIMIT_EXCEEDED)

    async def _ask(self, call: ToolCall, request: dict[str, Any]) -> ToolResult:
        await trio.lowlevel.checkpoint()
        try:
            response = await self._http.post("/execute", json=request)
            response.raise_for_status()
            return _parse(call, response.json())
        except (httpx.HTTPError, ValueError) as exc:
            return _failed(call, str(exc) or type(exc).__name__, Provenance.UNAVAILABLE)

    async def aclose(self) -> None:
        """Close the connections.

        Cancellation: shielded, at most 1 s.
        """
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 1.0):
            await self._http.aclose()


def _request(trajectory_id: str, call: ToolCall, limit_s: float, lease: Lease | None) -> dict[str, Any]:
    return {
        "trajectory_id": trajectory_id,
        "tool": {"name": call.name, "arguments": dict(call.arguments), "uniq_id": call.uniq_id},
        "timeout_s": limit_s,
        "slot_id": lease.slot if lease else None,
        "container_addr": None,
    }


def _parse(call: ToolCall, answer: object) -> ToolResult:
    """Read the server's answer strictly.

    Raises:
        ValueError: it is not a tool result; the text names the member.
    """
    if not isinstance(answer, dict):
        raise ValueError("the answer is not a JSON object")
    for name, kind in (("success", bool), ("output", str), ("error", str), ("metadata", dict)):
        if name in answer and not isinstance(answer[name], kind):
            raise ValueError(f"the answer's '{name}' is not a {kind.__name__}")
    if "success" not in answer:
        raise ValueError("the answer has no 'success'")
    return ToolResult(
        success=answer["success"],
        output=answer.get("output", ""),
        error=answer.get("error", ""),
        metadata=answer.get("metadata", {}),
        uniq_id=call.uniq_id,
        provenance=Provenance.OK if answer["success"] else Provenance.TOOL_ERROR,
    )


def _failed(call: ToolCall, why: str, provenance: Provenance) -> ToolResult:
    error = f"External tool failed: {why}"
    return ToolResult(success=False, error=error, uniq_id=call.uniq_id, provenance=provenance)
