"""Real processes, tormented for seconds; ``python -m benchmarks.chaos all`` torments them for minutes."""

from __future__ import annotations

import pytest

from benchmarks.chaos.__main__ import SHORT


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.parametrize("torment", sorted(SHORT))
async def test_every_promise_is_kept_under_torment(torment: str) -> None:
    """Nothing lost, nothing doubled, no slot with two holders, no silence unnoticed, nothing piles up."""
    done = await SHORT[torment]()
    assert done.problems == (), done.figures
