"""A nursery for the helpers of a block.

They outlive a cancel of the block, end when it has ended, and do not rewrap what it raises.

Theory of operation. When everything is cancelled from outside, the order must still be: first the block, to
its very end (it may have to say goodbye over a link whose reader is a helper, or to a daemon that is one),
then the helpers. Plain nesting cancels both at the same moment. So the helpers live in a nursery of their
own, inside a shielded task, whose scope is cancelled when the block is over.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


class _Held:
    """Holds back whatever a block raises; its owner must raise ``error`` in the end."""

    error: BaseException | None = None

    def __enter__(self) -> None: ...

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> bool:
        self.error = error
        return True


@asynccontextmanager
async def open_background_nursery() -> AsyncIterator[trio.Nursery]:
    """Open a nursery whose tasks serve the block and are cancelled when the block has ended.

    A cancel from outside reaches the block only. The block's exception leaves as it was raised: a plain
    nursery would wrap it in a group, although the block knows nothing of the helpers behind it. A helper
    that fails still cancels the block, and comes out in a group, with the block's own exception if there
    is one.

    Cancellation: shielded, at most as many s as the helpers need to end: whoever starts one bounds it.

    Yields:
        The nursery, for the function that opened it and nobody else.
    """
    held = _Held()
    service = trio.CancelScope(shield=True)
    hosted: list[trio.Nursery] = []
    try:
        async with trio.open_nursery() as nursery:
            # Not nursery.start: when that is cancelled as the task reports, the task stays where a shield
            # keeps it for ever.
            ready = trio.Event()
            nursery.start_soon(_host_helpers, service, hosted, ready)
            try:
                await ready.wait()
                with held:
                    yield hosted[0]
            finally:
                service.cancel()
    except BaseExceptionGroup as group:
        if held.error is None or isinstance(held.error, trio.Cancelled):
            raise
        raise BaseExceptionGroup("a block and its helpers failed", [held.error, *group.exceptions]) from None
    if held.error is not None:
        raise held.error


async def _host_helpers(service: trio.CancelScope, hosted: list[trio.Nursery], ready: trio.Event) -> None:
    with service:
        async with trio.open_nursery() as helpers:
            hosted.append(helpers)
            ready.set()
            await trio.sleep_forever()
