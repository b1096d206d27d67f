"""What a worker says of its job: read strictly, whoever said it."""

from __future__ import annotations

import pytest

from sandbox_daemon.files.told import Told, read_told


def test_a_report_is_read() -> None:
    """Numbers, failures, what was skipped."""
    told = read_told(b"entries=3\nskipped=6162,not a file, folder or link\nskipped_count=1\ndone=1\n")
    assert told.numbers == {"entries": 3, "skipped_count": 1, "done": 1}
    assert told.skipped == (("6162", "not a file, folder or link"),)
    assert (told.number("entries"), told.number("written")) == (3, 0)
    assert read_told(b"failed=4,0,1000\n") == Told(failed=(4, 0, 1000))
    assert read_told(b"sha256=abcd\n").sha256 == "abcd"
    assert read_told(b"refused=6e6f\n").refused == "no"


@pytest.mark.parametrize(
    "said",
    [
        b"Traceback (most recent call last):\n",
        b"entries=many\n",
        b"entries=-1\n",
        b"entries=99999999999999999999\n",
        b"entries=9999999999999999999\n",
        b"failed=9,0,0\n",
        b"failed=1\n",
        b"skipped=zz,why\n",
        b"sha256=xyz\n",
        b"\xff\xfe\n",
    ],
)
def test_anything_else_is_no_report(said: bytes) -> None:
    """What runs in the slot beside the worker has its uid, and may say anything."""
    with pytest.raises(ValueError, match=r"."):
        read_told(b"done=1\n" + said)


def test_no_more_is_taken_than_a_worker_says() -> None:
    """A hundred skipped entries are told, and their reasons are short."""
    told = read_told(b"skipped=61," + b"x" * 1000 + b"\n")
    assert told.skipped == (("61", "x" * 100),)
    with pytest.raises(ValueError, match="skipped"):
        read_told(b"skipped=61,x\n" * 101)
