#!/usr/bin/env bash
# Sets the checkout up and runs the main job: agent rollouts of the shipped tasks, solved by the scripted
# reference model. Arguments go to `hermes-trio run`.
#
#   ./run.sh                                          the shipped tasks
#   ./run.sh --slots 8 --group-size 4                 the same, with options
#   ./run.sh my-tasks.jsonl --model http://host/v1    your tasks, your model server
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
"$root/scripts/setup.sh" runtime
exec "$root/.venv/bin/hermes-trio" run "$@"
