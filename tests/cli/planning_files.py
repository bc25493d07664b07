"""A small problem as files."""

import json
from pathlib import Path

SPEC = """\
schema: alpaserve.spec/v1
cluster: {num_devices: 4, devices_per_node: 4, memory_bytes: 14e9}
models:
  - {name: m0, profile: bert-1.3b, slo_scale: 5}
  - {name: m1, profile: bert-2.6b, slo_s: 0.6}
"""
PLACEMENT = {
    "schema": "alpaserve.placement/v1",
    "groups": [
        {"inter_op": 2, "intra_op": 1, "devices": [0, 1], "models": ["m0", "m1"]},
        {"inter_op": 1, "intra_op": 1, "devices": [2], "models": ["m0"]},
    ],
}
WORKLOAD = "arrival_s,model,slo_s\n" + "".join(
    f"{0.02 * i},m{i % 2},{'0.3' if i % 5 == 4 else ''}\n" for i in range(40)
)
V100 = Path(__file__).parents[2] / "services/profiler/data/v100.json"


def written(directory: Path) -> dict[str, Path]:
    """Paths by option."""
    paths = {
        "--spec": directory / "spec.yaml",
        "--profiles": V100,
        "--workload": directory / "workload.csv",
        "--placement": directory / "placement.json",
    }
    paths["--spec"].write_text(SPEC)
    paths["--workload"].write_text(WORKLOAD)
    paths["--placement"].write_text(json.dumps(PLACEMENT))
    return paths


def with_batches(path: Path) -> Path:
    """The profiles with batches of two and four, in which each further request costs a quarter."""
    document = json.loads(V100.read_text())
    for model in document["models"]:
        model["profiles"] += [
            entry
            | {"batch_size": size, "stage_latency_s": [cost * (3 + size) / 4 for cost in entry["stage_latency_s"]]}
            for entry in model["profiles"]
            for size in (2, 4)
        ]
    path.write_text(json.dumps(document))
    return path


def options(paths: dict[str, Path], *names: str) -> list[str]:
    return [text for name in names for text in (name, str(paths[name]))]
