"""Small planning problems with known answers."""

from typing import Any

import numpy as np

from services.core.arrivals import gamma_workload
from services.core.documents import parse_spec
from services.core.problem import Problem, pose
from services.core.profile_documents import parse_profiles
from services.core.workload import Workload, workload_from_arrivals


def entry(inter_op: int, intra_op: int, latency_s: float, weight_bytes: int) -> dict[str, Any]:
    """An even pipeline."""
    return {
        "inter_op": inter_op,
        "intra_op": intra_op,
        "batch_size": 1,
        "stage_latency_s": [latency_s / inter_op] * inter_op,
        "stage_weight_bytes": [weight_bytes] * inter_op,
    }


def even_profile(name: str, latency_s: float, weight_bytes: int) -> dict[str, Any]:
    """Pipelines without overhead, and tensor parallelism that loses a fifth."""
    pipelines = [entry(n, 1, latency_s, weight_bytes // n) for n in (1, 2, 4, 8)]
    wide = [entry(1, n, latency_s / n * 1.2, weight_bytes // n) for n in (2, 4)]
    return {"model": name, "profiles": pipelines + wide}


def profiles(*models: dict[str, Any]) -> dict[str, Any]:
    return {"schema": "alpaserve.profiles/v1", "models": list(models)}


def spec(profile_of: dict[str, str], num_devices: int, memory_bytes: int, **slo: float) -> dict[str, Any]:
    return {
        "schema": "alpaserve.spec/v1",
        "cluster": {"num_devices": num_devices, "devices_per_node": 8, "memory_bytes": memory_bytes},
        "models": [{"name": name, "profile": profile, **slo} for name, profile in profile_of.items()],
    }


def posed(spec_: dict[str, Any], profiles_: dict[str, Any], workload: Workload) -> Problem:
    return pose(parse_spec(spec_), parse_profiles(profiles_), workload)


def bursty(num_models: int = 8, num_devices: int = 8, seed: int = 0) -> Problem:
    """Half of the memory that replication would want, and bursts that one device cannot serve."""
    names = [f"m{i}" for i in range(num_models)]
    workload = gamma_workload(dict.fromkeys(names, 0.6), 4.0, 200.0, seed)
    return posed(
        spec(dict.fromkeys(names, "p"), num_devices, 100, slo_scale=5), profiles(even_profile("p", 0.4, 60)), workload
    )


def mixed(seed: int = 0) -> Problem:
    """Short and long requests, whose models do not all fit twice."""
    profile_of = {f"short{i}": "short" for i in range(4)} | {f"long{i}": "long" for i in range(4)}
    rates = {name: 1.5 if name.startswith("short") else 0.2 for name in profile_of}
    both = profiles(even_profile("short", 0.1, 20), even_profile("long", 1.0, 70))
    return posed(spec(profile_of, 8, 100, slo_scale=4), both, gamma_workload(rates, 3.0, 200.0, seed))


def at(*arrivals: float, name: str = "m0") -> Workload:
    return workload_from_arrivals({name: np.array(arrivals)})
