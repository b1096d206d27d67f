"""The ancestor's road to its sandbox server: one aiohttp session, one request a batch."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import aiohttp
from attrs import frozen


@frozen(kw_only=True)
class SlotCall:
    """One call, with the slot it goes to."""

    slot_id: str
    tool: str
    arguments: Mapping[str, Any]


class BatchClient:
    """Sends batches. A server that cannot be reached is a failure of each call in the batch."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def execute_batch(self, calls: Sequence[SlotCall], *, limit_s: float) -> list[dict[str, Any]]:
        """One ``POST /batch``; returns when its slowest call has ended, results in the calls' order.

        Cancellation: *abandons*: the server goes on.
        """
        body = [
            {
                "slot_id": call.slot_id,
                "tool": call.tool,
                "args": dict(call.arguments),
                "execution_id": str(uuid4()),
                "timeout": limit_s,
            }
            for call in calls
        ]
        try:
            async with self._session.post(f"{self._url}/batch", json=body) as response:
                results: list[dict[str, Any]] = await response.json()
        except (aiohttp.ClientError, TimeoutError) as error:
            return [{"success": False, "error": repr(error)} for _ in calls]
        return results


@asynccontextmanager
async def open_client(url: str) -> AsyncIterator[BatchClient]:
    """A client with the ancestor's session limits (30 s in all for a request).

    Cancellation: *abandons* requests under way.
    """
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
        yield BatchClient(session, url)
