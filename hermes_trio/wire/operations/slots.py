"""Operations on whole slots and workspaces: their arguments and reports."""

from __future__ import annotations

from typing import Final

from attrs import frozen


@frozen(kw_only=True)
class SlotAcquireArguments:
    """No fields: the frame's ``trajectory_id`` says for whom."""


@frozen(kw_only=True)
class SlotAcquired:
    """The slot and the epoch to send with every call on it."""

    slot: str
    epoch: int


@frozen(kw_only=True)
class SlotReleaseArguments:
    """``reset``: wipe the workspace and everything in the slot, and prove it, before the next lease."""

    reset: bool = True


@frozen(kw_only=True)
class SlotReleased:
    """``state`` after it: ``ready``, ``dirty`` (kept as it was on request) or ``quarantined``."""

    state: str


@frozen(kw_only=True)
class SlotQuiesced:
    """``jobs_killed``: how many background jobs ran, and were ended."""

    jobs_killed: int = 0


@frozen(kw_only=True)
class SlotStatusArguments:
    """No fields: the lease says which slot."""


@frozen(kw_only=True)
class SlotStatusReport:
    """The slot's processes, oldest first, as many as a report holds: one place in each list for each."""

    pids: tuple[int, ...] = ()
    """As the daemon's host numbers them; inside the slot they have other numbers."""
    ages_s: tuple[float, ...] = ()
    commands: tuple[str, ...] = ()
    """The beginnings of their command lines."""
    total: int = 0
    """How many there are in all."""


@frozen(kw_only=True)
class SlotForkArguments:
    """``into``: the trajectories that get a copy; none of them may have a slot already."""

    into: tuple[str, ...]


NO_ROOM: Final = "no_room"
"""Why a fork did not happen: member ``reason`` of its result's data, where too few slots are free."""


@frozen(kw_only=True)
class SlotForked:
    """The new slots with their epochs, in the order of ``into``: all, or the fork has failed."""

    slots: tuple[str, ...]
    epochs: tuple[int, ...]


@frozen(kw_only=True)
class SlotResetArguments:
    """``base``: what the workspace begins with; ``None``: the base that it has, if it has one."""

    base: str | None = None


@frozen(kw_only=True)
class SlotResetReport:
    """``base``: what the workspace began with; ``None``: with nothing."""

    base: str | None


@frozen(kw_only=True)
class SlotDiffArguments:
    """A page that is ``truncated`` is continued by its last path as ``after_hex``."""

    after_hex: str = ""
    max_entries: int = 5000


@frozen(kw_only=True)
class SlotDiffReport:
    """``truncated``: there is more."""

    entries: int
    truncated: bool


@frozen(kw_only=True)
class SlotSnapshotArguments:
    """No fields: the lease says of which slot."""


@frozen(kw_only=True)
class SlotRestoreArguments:
    """No fields: the archive says what it stands on."""


@frozen(kw_only=True)
class SlotArchiveReport:
    """The archive that came out of a slot, or went into one."""

    archive_bytes: int
    sha256: str
    base: str | None
    """What the workspace stands on; ``None``: nothing."""
    entries: int


@frozen(kw_only=True)
class BaseBuildArguments:
    """No fields: the lease says of which slot."""


@frozen(kw_only=True)
class BaseReport:
    """``base``: its name, a SHA-256 of all that is in it."""

    base: str


NO_BASE: Final = "no_base"
"""Member ``reason`` of a result's data: the daemon has no base of the name that was given."""


@frozen(kw_only=True)
class BaseListArguments:
    """No fields: the lease says of which daemon."""


@frozen(kw_only=True)
class BaseRemoveArguments:
    """``base``: the name of one."""

    base: str


@frozen(kw_only=True)
class BaseListReport:
    """``bases``: names, least recently used first. ``used``: those of them that a slot stands on."""

    bases: tuple[str, ...]
    used: tuple[str, ...]
