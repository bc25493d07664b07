"""The planning problems that figures are quoted for, all on the published V100 profiles."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from services.core.arrivals import gamma_arrivals, power_law_rates
from services.core.problem import Problem, pose
from services.core.profile import ModelProfile, Profiles
from services.core.profile_documents import parse_profiles
from services.core.spec import Cluster, ModelSpec, Spec
from services.core.workload import Workload, workload_from_arrivals

_ROOT = Path(__file__).resolve().parent.parent
V100: Profiles = parse_profiles(json.loads((_ROOT / "services/profiler/data/v100.json").read_text()))
MEMORY_BYTES = V100.device.memory_bytes
DEVICES_PER_NODE = 8
SET = ("bert-1.3b", "bert-2.6b", "bert-6.7b", "moe-1.3b", "moe-2.4b", "moe-5.3b")
FROM_THE_LARGEST = ("bert-6.7b", "moe-5.3b", "bert-2.6b", "moe-2.4b", "bert-1.3b", "moe-1.3b")


def in_turn(profiles: Sequence[str], num_models: int) -> list[str]:
    return [profiles[i % len(profiles)] for i in range(num_models)]


def spec_of(profile_of: Sequence[str], num_devices: int, slo_scale: float = 5.0, memory_bytes: int = 0) -> Spec:
    """Models m0, m1, … on nodes of eight."""
    cluster = Cluster(num_devices, DEVICES_PER_NODE, memory_bytes or MEMORY_BYTES)
    return Spec(cluster, tuple(ModelSpec(f"m{i}", name, slo_scale=slo_scale) for i, name in enumerate(profile_of)))


def gamma_traffic(
    spec: Spec, rate_per_s: float, duration_s: float, cv: float = 4.0, exponent: float = -0.5, seed: int = 0
) -> Workload:
    """Gamma arrivals of every model by itself, rates by the power law; model i draws from seed + i."""
    rates = power_law_rates(rate_per_s, len(spec.models), exponent).tolist()
    draws = zip(spec.names, rates, strict=True)
    return workload_from_arrivals(
        {
            name: gamma_arrivals(rate, cv, duration_s, np.random.default_rng(seed + i))
            for i, (name, rate) in enumerate(draws)
        }
    )


def dealt_traffic(
    spec: Spec, rate_per_s: float, duration_s: float, cv: float = 4.0, exponent: float = -0.5
) -> Workload:
    """One Gamma stream, each request of a model drawn by the power law: bursts of all models at once."""
    rng = np.random.default_rng(0)
    arrival_s = gamma_arrivals(rate_per_s, 4.0, duration_s, rng)
    share = power_law_rates(1.0, len(spec.models))
    model = rng.choice(len(share), size=len(arrival_s), p=share / share.sum()).astype(np.int32)
    return Workload(arrival_s, model, np.full(len(arrival_s), np.nan), spec.names)


def problem(
    profile_of: Sequence[str],
    num_devices: int,
    rate_per_s: float,
    slo_scale: float = 5.0,
    num_requests: int = 10_000,
    cv: float = 4.0,
    exponent: float = -0.5,
    seed: int = 0,
) -> Problem:
    """About so many requests of every model's own Gamma process."""
    spec = spec_of(profile_of, num_devices, slo_scale)
    return pose(spec, V100, gamma_traffic(spec, rate_per_s, num_requests / rate_per_s, cv, exponent, seed))


def published_size(size: int) -> Problem:
    """As many models as devices, the six in turn from the largest, two requests a second a device."""
    return problem(in_turn(FROM_THE_LARGEST, size), size, 2.0 * size)


def synthetic_s3(num_devices: int, rate_per_s: float = 64.0, cv: float = 4.0, seed: int = 0) -> Problem:
    """The ablation: ten sets of the six models, 200 seconds."""
    num_requests = round(200 * rate_per_s)
    return problem(in_turn(SET, 60), num_devices, rate_per_s, num_requests=num_requests, cv=cv, seed=seed)


def tight_memory(rate_per_s: float, memory_bytes: int = 13_000_000_000, *, is_dealt: bool) -> Problem:
    """64 models of 2.4 GB, spread evenly over any stages, on 16 devices of 13 GB."""
    source = V100["bert-1.3b"]
    stages = tuple(
        replace(stage, stage_weight_bytes=(2_400_000_000 // stage.config.num_devices,) * stage.config.inter_op)
        for stage in source.stages
    )
    even = replace(V100, models={"even": ModelProfile("even", stages)})
    spec = spec_of(["even"] * 64, 16, memory_bytes=memory_bytes)
    traffic = dealt_traffic if is_dealt else gamma_traffic
    return pose(spec, even, traffic(spec, rate_per_s, 10_000 / rate_per_s))


HARD_CASES: dict[str, Callable[[], Problem]] = {
    "64 x bert-1.3b on 16, 20/s": lambda: problem(["bert-1.3b"] * 64, 16, 20.0),
    "64 x bert-1.3b on 16, 40/s": lambda: problem(["bert-1.3b"] * 64, 16, 40.0),
    "32 x bert-1.3b on 32, SLO scale 2, 64/s": lambda: problem(["bert-1.3b"] * 32, 32, 64.0, slo_scale=2.0),
    "32 x bert-1.3b on 16, SLO scale 2, 32/s": lambda: problem(["bert-1.3b"] * 32, 16, 32.0, slo_scale=2.0),
    "synthetic S3 on 24": lambda: synthetic_s3(24),
    "synthetic S3 on 40": lambda: synthetic_s3(40),
    "168 mixed on 48, 96/s": lambda: problem(in_turn(SET, 168), 48, 96.0),
    "64 mixed on 64, 128/s": lambda: published_size(64),
    "64 mixed on 64, exponent 1.2, CV 6": lambda: problem(
        in_turn(FROM_THE_LARGEST, 64), 64, 128.0, cv=6.0, exponent=-1.2
    ),
}
