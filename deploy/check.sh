#!/usr/bin/env bash
# Builds the images, brings the system up, serves a request through the published ports, loses the worker, serves
# another, replaces the routers under load without losing a request, takes everything down, and fails if anything is
# left. Needs Docker with Compose, nothing else.
set -euo pipefail
cd "$(dirname "$0")"
project=alpaserve-check
load=$project-load
files=$(mktemp -d)
chmod 755 "$files"
printf '%s' '{"model_type": "bert", "vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2,' \
  ' "num_attention_heads": 2, "intermediate_size": 64, "max_position_embeddings": 32, "type_vocab_size": 2}' >"$files/config.json"
printf '%s' '{"schema": "alpaserve.placement/v1",' \
  ' "groups": [{"inter_op": 2, "intra_op": 1, "devices": [0, 1], "models": ["tiny"]}]}' >"$files/placement.json"

compose() { docker compose --project-name "$project" --file compose.yaml "$@"; }

# From outside the system's network, as a client on this host would.
alpaserve() { docker run --rm --network host --read-only --tmpfs /tmp --volume "$files:/files:ro" alpaserve-cli "$@"; }

# How many requests the load has sent so far.
sent() { docker logs "$load" 2>&1 >/dev/null | grep -o '"num_sent": [0-9]*' | tail -n 1 | cut -d ' ' -f 2; }

left() {
  docker ps --all --quiet --filter "label=com.docker.compose.project=$project"
  docker volume ls --quiet --filter "label=com.docker.compose.project=$project"
  docker network ls --quiet --filter "label=com.docker.compose.project=$project"
}

take_down() {
  local status=$?
  trap - EXIT
  if [ "$status" -ne 0 ]; then compose logs --tail 20; fi
  docker rm --force "$load" >/dev/null 2>&1 || true
  compose down --volumes || status=1
  rm -r "$files"
  if [ -n "$(left)" ]; then
    echo "left behind: $(left)" >&2
    status=1
  fi
  exit "$status"
}

# While groups are formed again requests may fail.
infer_within() {
  local end=$((SECONDS + $1))
  until alpaserve infer tiny --input 'input_ids=[1,2,3]:int32' --timeout 10 --output json; do
    [ "$SECONDS" -lt "$end" ] || return 1
  done
}

trap take_down EXIT
for service in router planner profiler worker balancer cli; do
  compose build --quiet "$service"
done
compose up --detach --wait
alpaserve models add tiny --config /files/config.json --sequence-length 16 --slo 5
alpaserve profile tiny --config 2x1 --repeats 3
alpaserve apply /files/placement.json
infer_within 0

# Compose starts again what was killed by hand; a process that dies on its own, Docker does.
compose kill worker
compose up --detach --wait
infer_within 120

# For longer than replacing takes; Ctrl-C ends it, and it reports what it sent.
{ echo arrival_s,model; seq 0 0.05 1200 | sed 's/$/,tiny/'; } >"$files/load.csv"
printf '%s' '[{"input_ids": [1, 2, 3]}]' >"$files/inputs.json"
docker run --detach --name "$load" --network host --read-only --tmpfs /tmp --volume "$files:/files:ro" alpaserve-cli \
  replay --workload /files/load.csv --inputs-json /files/inputs.json --output json --progress json >/dev/null
./rolling.sh --project-name "$project" --file compose.yaml
sleep 3
replaced=$(sent)
sleep 5
[ "$(sent)" -gt "$replaced" ]
docker kill --signal INT "$load" >/dev/null
[ "$(docker wait "$load")" -eq 0 ]
docker logs "$load" 2>/dev/null >"$files/replay.json"
grep -q '"failed": 0' "$files/replay.json"
