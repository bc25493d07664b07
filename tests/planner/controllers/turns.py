"""Two models, of which a device holds one and one at a time is asked for; nothing can be split."""

import numpy as np

from services.core.arrivals import gamma_arrivals
from services.core.documents import parse_spec
from services.core.placement import Group, Placement
from services.core.profile import ParallelConfig
from services.core.profile_documents import parse_profiles
from services.core.workload import Workload, workload_from_arrivals
from services.planner.controllers.setting import Effort, Prudence, Setting
from tests.planner.problems import entry, profiles, spec

NAMES = ("even", "odd")
DEFAULT = Prudence()
EFFORT = Effort(max_simulations=60, num_samples=2, num_planned_requests=2_000)


def setting(load_bytes_per_s: float | None = 60.0, prudence: Prudence | None = DEFAULT) -> Setting:
    """Loading a replica takes a second."""
    cluster = parse_spec(spec(dict.fromkeys(NAMES, "p"), 2, 100, slo_scale=3))
    whole = parse_profiles(profiles({"model": "p", "profiles": [entry(1, 1, 0.4, 60)]}))
    return Setting(cluster, whole, 600.0, load_bytes_per_s, prudence=prudence)


def holding(first: str, second: str) -> Placement:
    return Placement(tuple(Group(ParallelConfig(1, 1), (i,), (name,)) for i, name in enumerate((first, second))))


def turns(turn_s: float, num_turns: int, rate_per_s: float = 3.0, cv: float = 1.0, seed: int = 0) -> Workload:
    """`even` in the first turn and every other, `odd` in between."""
    parts: dict[str, list[np.ndarray]] = {name: [np.empty(0)] for name in NAMES}
    for turn in range(num_turns):
        drawn_s = gamma_arrivals(rate_per_s, cv, turn_s, np.random.default_rng(seed + turn))
        parts[NAMES[turn % 2]].append(turn * turn_s + drawn_s)
    return workload_from_arrivals({name: np.concatenate(own) for name, own in parts.items()})
