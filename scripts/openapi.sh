#!/usr/bin/env bash
# Holds the server to its own OpenAPI document: schemathesis against `hermes-trio serve` with real slots.
#
# Usage: scripts/openapi.sh [SEED]
#
# The seed is 2026 unless one is given, and is printed. Everything that the server answers must be in the document,
# in the form that it says, and nothing may be a crash. /events is left out: its answer has no end.
# Exit codes: 1 the server broke its word, 3 the environment lacks something.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
seed=${1:-2026}
tools=$root/.schemathesis
constraints=$root/scripts/openapi-constraints.txt
scratch=$(mktemp -d)
token=$scratch/token
server=

finish() {
  [ -z "$server" ] || { kill "$server" && wait "$server"; } 2>/dev/null || true
  rm -rf "$scratch"
}
trap finish EXIT

ensure_tools() {
  local want
  want=$(sha256sum <"$constraints")
  [ "$(cat "$tools/.stamp" 2>/dev/null || true)" != "$want" ] || return 0
  rm -rf "$tools"
  "$root/.venv/bin/python" -m venv "$tools"
  "$tools/bin/python" -m pip install -q --disable-pip-version-check -c "$constraints" schemathesis ||
    { printf 'error: schemathesis could not be installed\n' >&2; exit 3; }
  printf '%s\n' "$want" >"$tools/.stamp"
}

# With a token, so that routes are tried without it too; calls that find no slot are told soon.
start_server() {
  printf 'a-token-of-the-check\n' >"$token"
  mkfifo "$scratch/says"
  TOOL_EXECUTOR_ACQUIRE_TIMEOUT_S=0.2 "$root/.venv/bin/hermes-trio" serve --port 0 --slots 8 --json \
    --token-file "$token" >"$scratch/says" &
  server=$!
  url=$(head -n 1 "$scratch/says" | "$root/.venv/bin/python" -c 'import json, sys; print(json.load(sys.stdin)["url"])')
}

ensure_tools
start_server
printf 'schemathesis, seed %s\n' "$seed"
cd "$scratch" # it writes beside itself
"$tools/bin/schemathesis" --config-file "$root/scripts/openapi.toml" run "$url/openapi.json" --seed "$seed" \
  --header "Authorization: Bearer $(cat "$token")"
"$root/.venv/bin/python" -c 'import sys, httpx; httpx.get(sys.argv[1]).raise_for_status()' "$url/ready" ||
  { printf 'error: after that, the server takes no calls\n' >&2; exit 1; }
