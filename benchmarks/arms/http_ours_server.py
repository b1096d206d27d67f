"""``hermes-trio serve`` as a child of the harness: it ends, as on SIGTERM, when its input does.

``python -m benchmarks.arms.http_ours_server ALLOW_NETWORK WORD...``: the words are the verb's.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from hermes_trio.cli import main


def _end_with_input() -> None:
    """In a thread, which sleeps in the kernel: the server's loop must not pay for the harness."""
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    os.environ["TOOL_EXECUTOR_ALLOW_NETWORK"] = sys.argv[1]
    threading.Thread(target=_end_with_input, daemon=True).start()
    sys.exit(main(["serve", *sys.argv[2:]]))
