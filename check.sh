#!/usr/bin/env bash
# Everything a machine can say about the code without running the product. Runs all gates, then names those
# that failed. Pass --fix to let ruff format and mend what it can first.
set -uo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
"$root/scripts/setup.sh" dev || exit
cd "$root" || exit
bin=.venv/bin
failed=()

gate() {
  local name=$1
  shift
  printf '==> %s\n' "$name"
  "$@" || failed+=("$name")
}

if [ "${1:-}" = --fix ]; then
  "$bin/ruff" format -q
  "$bin/ruff" check -q --fix
fi

gate "ruff format" "$bin/ruff" format --check
gate "ruff" "$bin/ruff" check
# Settings and the reason for each exception are in .flake8; ruff carries only part of these rules. It takes a third of
# a second a file, so that those without anything asynchronous are left out.
mapfile -t asynchronous < <(git ls-files '*.py' | xargs grep -lE '\basync (def|with|for)\b|trio\.Cancelled|BaseException')
gate "flake8-async" "$bin/flake8" "${asynchronous[@]}"
gate "mypy" "$bin/mypy"
gate "house tests" "$bin/python" -m pytest -q tests/house

if [ ${#failed[@]} -gt 0 ]; then
  printf '\ncheck.sh: failed: %s\n' "$(IFS=,; printf '%s' "${failed[*]}" | sed 's/,/, /g')"
  exit 1
fi
printf '\ncheck.sh: all gates passed\n'
