#!/usr/bin/env bash
# Makes the checkout ready: a virtual environment in .venv, pinned dependencies, Debian's bubblewrap and e2fsprogs.
#
# Usage: scripts/setup.sh [runtime|dev]
#
# Called by run.sh (runtime), test.sh and check.sh (dev: tests and linters too). Cheap when there is nothing to
# do: what was installed is remembered as a hash of everything it was made from. HERMES_TRIO_PYTHON names the
# interpreter for those who have several. Exit codes: 2 bad usage, 3 the environment lacks something.
set -euo pipefail

extras=${1:-runtime}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
venv=$root/.venv
python=$venv/bin/python
log=$root/.venv.log

export PIP_DISABLE_PIP_VERSION_CHECK=1
export PIP_NO_INPUT=1
export PIP_ROOT_USER_ACTION=ignore

say() { printf '==> %s\n' "$*" >&2; }

die() {
  printf 'error: %s\n' "$1" >&2
  exit "${2:-3}"
}

# --- Debian packages ---------------------------------------------------------------------------------------

can_apt() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; }

# Never asks; waits a minute for another apt to finish; its words go to the log.
apt_install() {
  local options=(-o DPkg::Lock::Timeout=60 -o Acquire::Retries=2)
  say "apt-get install $*"
  {
    DEBIAN_FRONTEND=noninteractive apt-get "${options[@]}" update &&
      DEBIAN_FRONTEND=noninteractive apt-get "${options[@]}" install -y --no-install-recommends "$@"
  } >"$log" 2>&1
}

# bubblewrap is wanted, not needed: without it the product takes uids, as root, or says that it cannot isolate.
ensure_system_packages() {
  local missing=()
  command -v bwrap >/dev/null 2>&1 || missing+=(bubblewrap)
  # Only a daemon that is root makes file systems.
  [ "$(id -u)" != 0 ] || PATH=$PATH:/usr/sbin:/sbin command -v mkfs.ext4 >/dev/null 2>&1 || missing+=(e2fsprogs)
  [ ${#missing[@]} -gt 0 ] || return 0
  if can_apt; then
    if apt_install "${missing[@]}"; then return 0; fi
    say "apt-get failed: $(tail -n 1 "$log")"
  fi
  say "not installed: ${missing[*]}. Without bubblewrap what agents run cannot be isolated in full, or at all." \
    "As root, run: apt-get install ${missing[*]}"
}

# --- Python ------------------------------------------------------------------------------------------------

is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

# Debian splits venv off from python3: then the module venv is there and ensurepip is not.
has_venv() { "$1" -c 'import ensurepip, venv' >/dev/null 2>&1; }

# By running it: a name on the PATH may be a version manager's stub that refuses to start.
find_python() {
  local name
  for name in ${HERMES_TRIO_PYTHON:-python3.11 python3 python3.12 python3.13 python3.14}; do
    if is_new_enough "$name"; then
      command -v "$name"
      return 0
    fi
  done
  return 1
}

choose_python() {
  local found package
  if ! found=$(find_python); then
    if [ -n "${HERMES_TRIO_PYTHON:-}" ]; then
      die "HERMES_TRIO_PYTHON=$HERMES_TRIO_PYTHON is not a Python of version 3.11 or newer"
    fi
    if ! can_apt || ! apt_install python3 python3-venv || ! found=$(find_python); then
      die "no Python 3.11 or newer was found. On Debian 12, as root, run: apt-get install python3 python3-venv"
    fi
  fi
  if ! has_venv "$found"; then
    package=$("$found" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    if ! can_apt || ! apt_install "$package" || ! has_venv "$found"; then
      die "$found cannot make virtual environments. On Debian, as root, run: apt-get install $package"
    fi
  fi
  printf '%s\n' "$found"
}

# --- the virtual environment -------------------------------------------------------------------------------

# The programs in a virtual environment carry its absolute path: one that was moved or copied is of no use.
venv_works() {
  is_new_enough "$python" &&
    "$python" -m pip --version >/dev/null 2>&1 &&
    { [ ! -f "$venv/.made-at" ] || [ "$(cat "$venv/.made-at")" = "$venv" ]; }
}

ensure_venv() {
  if venv_works; then return 0; fi
  local base
  base=$(choose_python)
  [ ! -e "$venv" ] || say "the environment in .venv does not work here (moved, or half made): making a new one"
  rm -rf "$venv"
  say "making .venv with $("$base" -V)"
  "$base" -m venv "$venv" || die "$base could not make the virtual environment $venv"
  printf '%s\n' "$venv" >"$venv/.made-at"
}

# Everything an installation is made from. A stamp with this text means that there is nothing to do.
fingerprint() {
  {
    "$python" -VV
    cat "$root/pyproject.toml" "$root/constraints.txt" "$root/scripts/setup.sh"
  } | sha256sum
}

# The name of the package under way, on one line that wipes itself; nothing where there is no terminal.
show_progress() {
  if [ -t 2 ]; then
    awk '/^ *(Collecting|Installing) /{printf "\r\033[K    %s", $2; fflush()} END{printf "\r\033[K"}' >&2
  else
    cat >/dev/null
  fi
}

pip_install() {
  "$python" -m pip install --retries 3 --progress-bar off -c "$root/constraints.txt" "$@" 2>&1 |
    tee -a "$log" | show_progress && return 0
  grep -a '^ *ERROR' "$log" | tail -n 2 >&2 || true
  die "pip could not install the dependencies; it needs a network, or a package mirror. Its whole log: $log"
}

# Build tools are pinned too: without build isolation nothing is fetched that constraints.txt does not name.
install_project() {
  # What README's commands use: the server with its figures, and the console with its stacks.
  local want target="$root[api,console]" stamp=$venv/.stamp-$extras
  want=$(fingerprint)
  if [ "$(cat "$stamp" 2>/dev/null || true)" = "$want" ]; then return 0; fi
  [ "$extras" = runtime ] || target="$root[$extras]"
  say "installing the pinned dependencies ($extras); the first time this takes a minute"
  : >"$log"
  pip_install hatchling editables
  pip_install --no-build-isolation -e "$target"
  printf '%s\n' "$want" >"$stamp"
  # dev holds everything that runtime does.
  [ "$extras" = runtime ] || printf '%s\n' "$want" >"$venv/.stamp-runtime"
}

case $extras in
runtime | dev) ;;
*) die "usage: scripts/setup.sh [runtime|dev]" 2 ;;
esac

# Two commands started at once must not build one environment over each other.
if [ -z "${HERMES_TRIO_SETUP_LOCKED:-}" ] && command -v flock >/dev/null 2>&1; then
  HERMES_TRIO_SETUP_LOCKED=1 exec flock "$root/.venv.lock" "${BASH_SOURCE[0]}" "$@"
fi

ensure_system_packages
ensure_venv
install_project
