#!/usr/bin/env bash
# The web console's own tools: the page is built from hermes_trio/console/web, and driven in a browser.
#
# Usage: scripts/console.sh setup|build|check|screenshots
#
#   setup        Node.js, npm and Chromium from Debian where they are missing, and the pinned npm packages
#   build        write hermes_trio/console/page, which is committed
#   check        types, and whether the committed page is what the sources give
#   screenshots  drive the page against a server under load; the pictures go to docs/how-to/console
#
# Exit codes: 1 the check failed, 2 bad usage, 3 the environment lacks something.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
web=$root/hermes_trio/console/web

say() { printf '==> %s\n' "$*" >&2; }

die() {
  printf 'error: %s\n' "$1" >&2
  exit "${2:-3}"
}

ensure_programs() {
  local missing=()
  command -v node >/dev/null 2>&1 || missing+=(nodejs)
  command -v npm >/dev/null 2>&1 || missing+=(npm)
  command -v chromium >/dev/null 2>&1 || missing+=(chromium fonts-dejavu-core)
  [ ${#missing[@]} -gt 0 ] || return 0
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    die "not installed: ${missing[*]}. As root, run: apt-get install ${missing[*]}"
  fi
  say "apt-get install ${missing[*]}"
  {
    DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=60 update &&
      DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=60 install --no-install-recommends \
        "${missing[@]}"
  } >"$root/.venv.log" 2>&1 || die "apt-get failed: $(tail -n 1 "$root/.venv.log")"
}

# No package's install script is run: esbuild's only fetches what npm has brought already.
ensure_packages() {
  local stamp=$web/node_modules/.stamp want
  want=$(sha256sum <"$web/package-lock.json")
  [ "$(cat "$stamp" 2>/dev/null || true)" != "$want" ] || return 0
  say "npm ci"
  (cd "$web" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error) ||
    die "npm could not install the packages; it needs a network, or a package mirror"
  printf '%s\n' "$want" >"$stamp"
}

case ${1:-} in
setup)
  ensure_programs
  ensure_packages
  ;;
build)
  ensure_packages
  (cd "$web" && npm run -s build)
  ;;
check)
  ensure_packages
  (cd "$web" && npm run -s check && node build.mjs --check)
  ;;
screenshots)
  ensure_programs
  ensure_packages
  HERMES_TRIO_SCREENSHOTS=$root/docs/how-to/console "$root/.venv/bin/python" -m pytest -q \
    "$root/tests/system/test_console_browser.py"
  ;;
*) die "usage: scripts/console.sh setup|build|check|screenshots" 2 ;;
esac
