"""A structured-concurrency runtime for the tool calls of reinforcement-learning rollouts.

The names below are loaded when they are first used (PEP 562): ``import hermes_trio.wire`` must load neither
Trio nor httpx, and this file is executed by every import of anything below it.
"""

from __future__ import annotations

from importlib import import_module

_MODULES = {
    "BrokenLinkError": "hermes_trio.errors",
    "BusyError": "hermes_trio.errors",
    "ClosedError": "hermes_trio.errors",
    "HermesTrioError": "hermes_trio.errors",
    "InvalidInputError": "hermes_trio.errors",
    "LinkLostError": "hermes_trio.errors",
    "LocalProtocolError": "hermes_trio.errors",
    "LostError": "hermes_trio.errors",
    "ProtocolError": "hermes_trio.errors",
    "Provenance": "hermes_trio.errors",
    "RemoteProtocolError": "hermes_trio.errors",
    "SandboxLostError": "hermes_trio.errors",
    "TooSlowError": "hermes_trio.errors",
    "ToolCall": "hermes_trio.tools.calls",
    "ToolResult": "hermes_trio.tools.calls",
    "UnavailableError": "hermes_trio.errors",
}
"""Every public name, and the module that has it."""

__all__ = sorted(_MODULES)


def __getattr__(name: str) -> object:
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(module), name)
    globals()[name] = value  # asked once
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
