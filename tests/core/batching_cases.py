"""Random documents with batches: sizes that some profile lacks, batches that pay and that do not."""

from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tests.core.cases import Case, cases, long_case


@st.composite
def batching_cases(draw: st.DrawFn) -> Case:
    """A case whose profiles also have some of the sizes 2, 3, 4, 8 and 16 for some configs."""
    case = draw(cases())
    growth = st.sampled_from([0.0, 0.25, 0.5, 1.0, 1.5])
    models = [
        model
        | {
            "profiles": [
                batch_entry(entry, size, draw(growth))
                for entry in model["profiles"]
                for size in [1, *sorted(draw(st.sets(st.sampled_from([2, 3, 4, 8, 16]))))]
            ]
        }
        for model in case.profiles["models"]
    ]
    return replace(case, profiles=case.profiles | {"models": models})


def batch_entry(entry: dict[str, Any], size: int, growth: float) -> dict[str, Any]:
    """Each further request of a batch costs `growth` of the first."""
    factor = 1 + growth * (size - 1)
    return entry | {"batch_size": size, "stage_latency_s": [cost * factor for cost in entry["stage_latency_s"]]}


def long_batching_case(rule: str, seed: int) -> Case:
    """Six uneven groups under five hundred bursty requests, with batches that pay."""
    case = long_case(rule, seed)
    rng = np.random.default_rng(seed + 100)
    models = [
        model
        | {
            "profiles": [
                batch_entry(entry, size, float(rng.uniform(0.1, 0.6)))
                for entry in model["profiles"]
                for size in (1, 2, 4, 8)
            ]
        }
        for model in case.profiles["models"]
    ]
    return replace(case, profiles=case.profiles | {"models": models})
