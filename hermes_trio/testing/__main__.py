"""``python -m hermes_trio.testing``: simulate whole runs with accidents, seed after seed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from hermes_trio.testing.faulty_link import ROUGH, Faults
from hermes_trio.testing.silence import silence
from hermes_trio.testing.simulation import World, simulate


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the seeds; 0: every promise was kept in each of them, 1: not."""
    options = _parser().parse_args(arguments)
    world = World(
        trajectories=options.trajectories,
        calls=options.calls,
        faults=Faults() if options.calm else ROUGH,
        kills=options.kills,
        impatience=options.impatience,
    )
    broken = 0
    for seed in range(options.seed, options.seed + options.seeds):
        with silence():
            done = simulate(world, seed=seed)
        sys.stdout.write(f"{done}\n" + "".join(f"  {line}\n" for line in done.violations))
        broken += bool(done.violations)
    return 1 if broken else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m hermes_trio.testing",
        description="Simulate rollouts in one process on a virtual clock: links that break, stall and lie, "
        "daemons that die, callers that lose patience. The same seed gives the same run.",
        epilog="Example: python -m hermes_trio.testing --seeds 20 --kills 3",
    )
    add = parser.add_argument
    add("--seed", type=int, default=0, help="the first seed (0)")
    add("--seeds", type=int, default=1, help="how many seeds to run (1)")
    add("--trajectories", type=int, default=1000, help="trajectories of each run (1000)")
    add("--calls", type=int, default=1, help="calls of each trajectory (1)")
    add("--kills", type=int, default=0, help="daemons that die and are started again (0)")
    add("--impatience", type=float, default=0.0, help="chance that a caller cancels its call (0)")
    add("--calm", action="store_true", help="links that work")
    return parser


if __name__ == "__main__":
    sys.exit(main())
