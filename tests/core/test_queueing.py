"""The simulator against closed formulas of queueing theory (AlpaServe, section 3.4)."""

import numpy as np
import pytest

from services.core.arrivals import poisson_arrivals
from services.core.placement import Group, Placement
from services.core.problem import pose
from services.core.profile import ModelProfile, ParallelConfig, Profiles, StageProfile
from services.core.simulator import simulate_counts
from services.core.spec import Cluster, ModelSpec, Spec
from services.core.workload import workload_from_arrivals

DURATION_S = 400_000.0


def mean_latency_s(stage_latency_s: tuple[float, ...], rates_per_s: dict[str, float], groups: list[list[str]]) -> float:
    """Of models without SLO; `groups` lists the models of each, one group per stage count of devices."""
    config = ParallelConfig(len(stage_latency_s), 1)
    stage = StageProfile(config, 1, stage_latency_s, (1,) * config.inter_op)
    num_devices = config.num_devices * len(groups)
    spec = Spec(Cluster(num_devices, num_devices, 10), tuple(ModelSpec(name, "p") for name in rates_per_s))
    arrivals = {
        name: poisson_arrivals(rate, DURATION_S, np.random.default_rng(seed))
        for seed, (name, rate) in enumerate(rates_per_s.items())
    }
    problem = pose(spec, Profiles({"p": ModelProfile("p", (stage,))}), workload_from_arrivals(arrivals))
    width = config.num_devices
    placement = Placement(
        tuple(Group(config, tuple(range(g * width, (g + 1) * width)), tuple(models)) for g, models in enumerate(groups))
    )
    counts = simulate_counts(problem, problem.placement_layout(placement), placement.dispatch_rule)
    return counts.latency_s / problem.num_requests


def waiting_s(rate_per_s: float, service_s: float) -> float:
    return rate_per_s * service_s**2 / (2 * (1 - rate_per_s * service_s))


@pytest.mark.parametrize("rate_per_s", [0.2, 0.5, 0.8])
def test_one_device_is_an_m_d_1_queue(rate_per_s: float) -> None:
    assert mean_latency_s((1.0,), {"a": rate_per_s}, [["a"]]) == pytest.approx(1 + waiting_s(rate_per_s, 1), rel=0.02)


@pytest.mark.parametrize("share", [0.5, 0.8])
def test_two_models_on_a_device_each_are_two_queues(share: float) -> None:
    rates = {"a": share * 1.1, "b": (1 - share) * 1.1}

    latency_s = mean_latency_s((1.0,), rates, [["a"], ["b"]])

    expected = 1 + sum(rate / 1.1 * waiting_s(rate, 1) for rate in rates.values())
    assert latency_s == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("stages", [(0.5, 0.5), (0.3, 0.7), (0.6, 0.55)])
def test_two_models_on_a_shared_pipeline_queue_at_its_slowest_stage(stages: tuple[float, ...]) -> None:
    latency_s = mean_latency_s(stages, {"a": 0.8, "b": 0.3}, [["a", "b"]])

    assert latency_s == pytest.approx(sum(stages) + waiting_s(1.1, max(stages)), rel=0.02)
