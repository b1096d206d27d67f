"""Maps of owners: what they map, and hosts that do not give any."""

from __future__ import annotations

import os
import sys

import pytest

from hermes_trio.errors import UnavailableError
from sandbox_daemon.isolation.idmaps import open_idmaps


@pytest.mark.root
def test_each_uid_has_a_map_of_its_own() -> None:
    """A namespace that outlives the process it was made with."""
    maps = open_idmaps([70_001, 70_002], interpreter=os.path.realpath(sys.executable))
    assert set(maps) == {70_001, 70_002}
    assert len({os.fstat(descriptor).st_ino for descriptor in maps.values()}) == 2
    for descriptor in maps.values():
        assert os.readlink(f"/proc/self/fd/{descriptor}").startswith("user:")
        os.close(descriptor)


def test_a_host_without_them_is_an_error_that_leaves_nothing_open() -> None:
    """The helper ends before it has said anything."""
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(UnavailableError, match="no map of owners"):
        open_idmaps([70_001], interpreter="/bin/false")
    assert len(os.listdir("/proc/self/fd")) == before
