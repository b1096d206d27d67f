"""``python -m benchmarks.chaos WHAT``: one torment, its figures as JSON; exit code 1: a promise is broken."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Awaitable, Callable
from functools import partial

import trio

from benchmarks.chaos import kills, leases, links, nemeses, readers
from benchmarks.chaos.stage import FigureSet
from hermes_trio.testing.silence import silence

Torment = Callable[[], Awaitable[FigureSet]]

SHORT: dict[str, Torment] = {
    "links": partial(links.run, cuts=40, trajectories=8),
    "kills": partial(kills.run, kills=4, trajectories=8, daemons=2),
    "agents": partial(nemeses.agents, kills=12, trajectories=4),
    "disk": partial(nemeses.disk, fills=2, trajectories=4),
    "leases": partial(leases.run, slots=8),
    "half-open": partial(readers.half_open, rounds=2),
    "flood": partial(readers.flood, trajectories=8, seconds=0.5, rounds=1),
    "soak": partial(readers.soak, calls=2_000, trajectories=8),
}
"""For continuous integration: seconds each."""

LONG: dict[str, Torment] = {
    "links": partial(links.run, cuts=1_000, trajectories=64),
    "kills": partial(kills.run, kills=200),
    "agents": partial(nemeses.agents, kills=500, trajectories=32),
    "disk": partial(nemeses.disk, fills=20, trajectories=16),
    "leases": partial(leases.run, slots=256),
    "half-open": partial(readers.half_open, rounds=20),
    "flood": partial(readers.flood, trajectories=64, seconds=5.0),
    "soak": partial(readers.soak, calls=200_000),
}


def main() -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__)
    parser.add_argument("what", choices=[*LONG, "all"])
    parser.add_argument("--short", action="store_true", help="seconds instead of minutes")
    parser.add_argument("--calls", type=int, help="soak: how many calls (200000)")
    options = parser.parse_args()
    torments = dict(SHORT if options.short else LONG)
    if options.calls is not None:
        torments["soak"] = partial(readers.soak, calls=options.calls)
    broken = 0
    for name in LONG if options.what == "all" else (options.what,):
        with silence():
            done = trio.run(torments[name])
        print(json.dumps({"what": done.name, **done.figures, "problems": list(done.problems[:20])}))
        broken += bool(done.problems)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
