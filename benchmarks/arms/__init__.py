"""The contenders, by name. Looking one up imports it; nothing else does."""

from __future__ import annotations

from importlib import import_module

from benchmarks.arms.base import Arm

ARM_MODULES = {
    "ours": "benchmarks.arms.ours",
    "ancestor": "benchmarks.arms.ancestor",
    "http_per_call": "benchmarks.arms.http_per_call",
    "http_ours": "benchmarks.arms.http_ours",
    "http_ancestor": "benchmarks.arms.http_ancestor",
    "bwrap_spawn": "benchmarks.arms.bwrap_spawn",
    "plain_spawn": "benchmarks.arms.plain_spawn",
    "sh_spawn": "benchmarks.arms.sh_spawn",
}
"""Each module has one function, ``make_arm() -> Arm``."""


def load_arm(name: str) -> Arm:
    """The arm of this name.

    Raises:
        KeyError: there is no arm of this name.
        ImportError: the arm needs a package that is not installed.
    """
    arm = import_module(ARM_MODULES[name]).make_arm()
    assert isinstance(arm, Arm)
    return arm
