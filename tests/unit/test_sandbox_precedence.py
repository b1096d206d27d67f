"""Weights of slots, in files that are like the kernel's."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox_daemon.isolation.precedence import Precedence

WEIGHTS = {"cpu.shares": ("1024", "8192", "682"), "cpu.weight": ("100", "800", "66")}
"""By file: as usual, a slot that goes first, and all slots where they stand back."""


@pytest.fixture(params=sorted(WEIGHTS), name="file")
def _file(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The folder of three slots is made, in a tree of either version."""
    for folder in (tmp_path, *(tmp_path / f"slot_{number}" for number in range(3))):
        folder.mkdir(exist_ok=True)
        (folder / request.param).write_text("untouched")
    name: str = request.param
    return name


def weights(base: Path, file: str) -> list[str]:
    """Of all slots together, and of each."""
    return [(group / file).read_text() for group in (base, *sorted(base.glob("slot_*")))]


def test_a_slot_goes_before_the_others_as_long_as_one_wants_it(tmp_path: Path, file: str) -> None:
    """However many want it; nobody else is weighed."""
    usual, first, _ = WEIGHTS[file]
    precedence = Precedence(tmp_path)
    with precedence.prefer(tmp_path / "slot_0"):
        with precedence.prefer(tmp_path / "slot_0"), precedence.prefer(tmp_path / "slot_1"):
            assert weights(tmp_path, file) == ["untouched", first, first, "untouched"]
        assert weights(tmp_path, file) == ["untouched", first, usual, "untouched"]
    assert weights(tmp_path, file) == ["untouched", usual, usual, "untouched"]


def test_slots_stand_back_until_the_last_who_wants_it_has_ended(tmp_path: Path, file: str) -> None:
    """Also when that is an error."""
    usual, _, back = WEIGHTS[file]
    precedence = Precedence(tmp_path)
    with precedence.stand_back():
        with pytest.raises(KeyError), precedence.stand_back():
            raise KeyError
        assert weights(tmp_path, file) == [back, "untouched", "untouched", "untouched"]
    with pytest.raises(KeyError), precedence.stand_back():
        raise KeyError
    assert weights(tmp_path, file) == [usual, "untouched", "untouched", "untouched"]


def test_where_nothing_can_be_weighed_nothing_is(tmp_path: Path) -> None:
    """No file is made, and nobody is told: it is only slower."""
    for precedence in (Precedence(tmp_path), Precedence(None)):
        with precedence.prefer(tmp_path / "slot_0"), precedence.prefer(None), precedence.stand_back():
            pass
    assert list(tmp_path.iterdir()) == []
