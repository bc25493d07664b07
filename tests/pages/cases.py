"""A small placement under a small workload, one request of which is too much."""

from typing import Any

from services.core.documents import parse_placement, parse_spec
from services.core.placement import Placement
from services.core.problem import Problem, pose
from services.core.profile_documents import parse_profiles
from services.core.workload import parse_workload

HOSTILE = "<script>alert(1)</script>"
SPEC: dict[str, Any] = {
    "schema": "alpaserve.spec/v1",
    "cluster": {"num_devices": 4, "devices_per_node": 2, "memory_bytes": 100},
    "models": [
        {"name": "m0", "profile": "p", "slo_s": 2.5},
        {"name": HOSTILE, "profile": "p", "slo_s": 2.5},
        {"name": "idle", "profile": "p"},
    ],
}
PROFILES: dict[str, Any] = {
    "schema": "alpaserve.profiles/v1",
    "models": [
        {
            "model": "p",
            "profiles": [
                {
                    "inter_op": inter_op,
                    "intra_op": 1,
                    "batch_size": 1,
                    "stage_latency_s": [2.0 / inter_op] * inter_op,
                    "stage_weight_bytes": [40 // inter_op] * inter_op,
                }
                for inter_op in (1, 2)
            ],
        }
    ],
}
PLACEMENT: dict[str, Any] = {
    "schema": "alpaserve.placement/v1",
    "groups": [
        {"inter_op": 2, "intra_op": 1, "devices": [0, 1], "models": ["m0", HOSTILE]},
        {"inter_op": 1, "intra_op": 1, "devices": [2], "models": ["m0"]},
    ],
}
# Group 0 takes the first, group 1 the second; the third and the idle model's are missed.
WORKLOAD = f"arrival_s,model\n0.0,m0\n0.1,m0\n0.2,{HOSTILE}\n1.0,{HOSTILE}\n1.5,idle\n"


def problem() -> Problem:
    return pose(parse_spec(SPEC), parse_profiles(PROFILES), parse_workload(WORKLOAD.splitlines()))


def placement() -> Placement:
    return parse_placement(PLACEMENT)
