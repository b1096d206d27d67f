"""PURE: which bases a daemon keeps, and which one goes when there are too many.

A base that something stands on, a slot or a fork of one, never goes: it is below what somebody works on. Of
the others the least recently used goes first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator


class BaseShelf:
    """The names, in the order of their last use.

    Args:
        is_used: whether something stands on a base now.
        most: how many there may be.
    """

    def __init__(self, is_used: Callable[[str], bool], *, most: int) -> None:
        self._is_used = is_used
        self._most = most
        self._names: dict[str, None] = {}  # the least recently used first

    def __repr__(self) -> str:
        return f"<BaseShelf {len(self._names)} of {self._most} bases>"

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        """Least recently used first."""
        return iter(tuple(self._names))

    def touch(self, name: str) -> None:
        """It is there, and was used just now."""
        self._names.pop(name, None)
        self._names[name] = None

    def drop(self, name: str) -> None:
        """It is not there any more."""
        self._names.pop(name, None)

    def surplus(self) -> tuple[str, ...]:
        """Those that have to go for one more to find room; fewer than that when the others are in use."""
        excess = len(self._names) + 1 - self._most
        unused = [name for name in self._names if not self._is_used(name)]
        return tuple(unused[: max(0, excess)])

    def has_room(self) -> bool:
        """Whether one more may be made."""
        return len(self._names) < self._most
