#!/usr/bin/env bash
# Sets the checkout up and runs the main job: agent rollouts of the shipped tasks, solved by the scripted
# reference model. Options go to `hermes-trio run`; a first argument that is no option names another task file.
#
#   ./run.sh                                          the shipped tasks
#   ./run.sh --slots 8 --group-size 4                 the same, with options
#   ./run.sh my-tasks.jsonl --model http://host/v1    your tasks, your model server
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
"$root/scripts/setup.sh" runtime

tasks=$root/hermes_trio/data/tasks/terminal.jsonl
if [ $# -gt 0 ] && [ "${1#-}" = "$1" ]; then
  tasks=$1
  shift
fi

model=(--scripted reference)
for argument in "$@"; do
  case $argument in
  --model | --model=* | --scripted | --scripted=*) model=() ;;
  esac
done

exec "$root/.venv/bin/hermes-trio" run "$tasks" ${model[@]+"${model[@]}"} "$@"
