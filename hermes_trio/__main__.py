"""``python -m hermes_trio`` is ``hermes-trio``."""

from __future__ import annotations

import sys

from hermes_trio.cli import main

if __name__ == "__main__":
    sys.exit(main())
