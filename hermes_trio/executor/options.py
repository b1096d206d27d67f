"""PURE. What a caller, and never a model, can ask for beside a tool call's own arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen


@frozen(kw_only=True)
class CallOptions:
    """How a command is to be run. Tools that run no command take no notice.

    Args:
        parallel: beside other calls of its trajectory that ask for it too, instead of after them. Where the
            daemon cannot tell the processes of calls apart, they run one after another all the same.
        stdin: standard input; ``None``: what the call's arguments say, else ``/dev/null``.
        environment: added to the slot's clean environment.
        no_output_limit_s: longest silence in seconds; ``None``: any.
        max_output_bytes: kept of each stream, half head, half tail; ``None``: the daemon's default of 64 KiB.
        sha256: tell the digest of each stream, whole, in the metadata.
    """

    parallel: bool = False
    stdin: bytes | None = field(default=None, repr=False)
    environment: Mapping[str, str] = field(factory=dict, repr=False)
    no_output_limit_s: float | None = None
    max_output_bytes: int | None = None
    sha256: bool = False

    def arguments(self) -> dict[str, Any]:
        """The operation's arguments that differ from their defaults."""
        values = {
            "parallel": self.parallel,
            "environment": dict(self.environment),
            "no_output_limit_s": self.no_output_limit_s,
            "max_output_bytes": self.max_output_bytes,
            "sha256": self.sha256,
        }
        return {name: value for name, value in values.items() if value not in (None, False, {})}
