#!/usr/bin/env bash
# Upgrades the routers one after another under load: each drains and is replaced by one of the newest image before
# the next one goes. Options are those of docker compose that the system was brought up with, files and project.
#   deploy/rolling.sh --file deploy/compose.yaml
set -euo pipefail

compose() { docker compose "${options[@]}" "$@"; }

options=("$@")
mapfile -t routers < <(compose ps --quiet router)
if [ "${#routers[@]}" -lt 2 ]; then
  echo "${#routers[@]} routers run: with fewer than two, calls would be lost" >&2
  exit 1
fi
for router in "${routers[@]}"; do
  docker stop "$router" >/dev/null
  docker rm "$router" >/dev/null
  # All must be healthy before the next one goes; on a busy host that may take some looks.
  end=$((SECONDS + 300))
  until compose up --detach --wait --no-deps --no-recreate --scale router="${#routers[@]}" router; do
    [ "$SECONDS" -lt "$end" ]
  done
done
