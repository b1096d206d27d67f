"""Reading answers that may be JSON or an SDK's objects. PURE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def member(thing: Any, name: str) -> Any:
    """A member of a JSON object or of an SDK's object alike; ``None`` when it is not there."""
    return thing.get(name) if isinstance(thing, Mapping) else getattr(thing, name, None)


def first_choice(response: Any) -> Any:
    """The first of the choices; ``None`` when there are none."""
    choices = member(response, "choices")
    return choices[0] if isinstance(choices, Sequence) and choices and not isinstance(choices, str) else None
