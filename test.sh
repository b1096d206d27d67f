#!/usr/bin/env bash
# Sets the checkout up and runs the tests. Arguments go to pytest; paths are relative to the checkout.
#
#   ./test.sh                     everything this machine can test; the summary says what was left out, and why
#   ./test.sh tests/unit -k wire  a part of it
#   ./test.sh -n 0 --pdb          in one process; otherwise files go to as many as there are cores, four at most
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
"$root/scripts/setup.sh" dev
cd "$root"
cores=$(nproc)
exec .venv/bin/python -m pytest -n "$((cores < 4 ? cores : 4))" --dist loadfile "$@"
