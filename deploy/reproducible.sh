#!/usr/bin/env bash
# Builds the images twice without a cache, and fails if the two builds differ in any file: its path, kind, mode, owner
# or content. Prints how many files an image has and its size. Needs Docker with Compose, nothing else.
set -euo pipefail
cd "$(dirname "$0")"
images=(router planner profiler worker balancer cli)

# Docker mounts what is left out.
files() {
  docker run --rm --user 0 --entrypoint bash "alpaserve-$1" -c '
    found() {
      find / \( -path /proc -o -path /sys -o -path /dev -o -path /etc/hosts -o -path /etc/hostname \
        -o -path /etc/resolv.conf -o -path /.dockerenv \) -prune -o "$@"
    }
    found -printf "%p %y %m %U:%G %l\n" | sort
    found -type f -print0 | sort -z | xargs -0 sha256sum'
}

directory=$(mktemp -d)
trap 'rm -r "$directory"' EXIT
for build in first second; do
  docker compose --file compose.yaml --profile cli build --no-cache --quiet "${images[@]}"
  for image in "${images[@]}"; do
    files "$image" >"$directory/$image.$build"
  done
done
for image in "${images[@]}"; do
  diff "$directory/$image.first" "$directory/$image.second"
  bytes=$(docker image inspect --format '{{.Size}}' "alpaserve-$image")
  echo "alpaserve-$image: $(grep -c ' f ' "$directory/$image.first") files, $((bytes / 1000000)) MB, the same twice"
done
