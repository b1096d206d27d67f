#!/usr/bin/env bash
# Sets the checkout up and runs the tests. Arguments go to pytest; paths are relative to the checkout.
#
#   ./test.sh                     everything this machine can test; the summary says what was left out, and why
#   ./test.sh tests/unit -k wire  a part of it
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
"$root/scripts/setup.sh" dev
cd "$root"
exec .venv/bin/python -m pytest "$@"
