"""A nursery for helpers of a block: they end with the block, and do not rewrap what the block raises."""

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
    """Open a nursery whose tasks serve the block and are cancelled when the block ends.

    A plain nursery wraps the block's own exception in a group, although the block knows nothing of the
    helpers behind it. Here it leaves as it was raised. A helper that fails still cancels the block, and its
    exception comes out in a group, together with the block's own if there is one.

    Cancellation: shielded, for as long as the helpers need to end: whoever starts one bounds it.

    Yields:
        The nursery, for the function that opened it and nobody else.
    """
    held = _Held()
    try:
        async with trio.open_nursery() as nursery:
            with held:
                yield nursery
            # The shield makes every Cancelled of a helper this nursery's own, whoever cancelled first; else
            # a cancel from outside would come out of here in a group and hide what the block raised.
            nursery.cancel_scope.shield = True
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        if held.error is None or isinstance(held.error, trio.Cancelled):
            raise
        raise BaseExceptionGroup("a block and its helpers failed", [held.error, *group.exceptions]) from None
    if held.error is not None:
        raise held.error
