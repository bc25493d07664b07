"""Large problems in shards: nothing is lost between them, and what they attain adds up."""

import numpy as np
import pytest

from services.core.arrivals import gamma_workload
from services.core.problem import Problem
from services.planner.policies.annealing.shards import cut
from services.planner.policies.improved import plan_improved, starting_points
from services.planner.policies.search import Limits, Search
from tests.planner.grounds import with_models
from tests.planner.problems import even_profile, mixed, posed, profiles, spec


def large(num_models: int = 40, num_devices: int = 140) -> Problem:
    """More devices than are searched at once, the last node with four of eight."""
    rates = {f"m{i}": 0.5 for i in range(num_models)}
    return posed(
        spec(dict.fromkeys(rates, "p"), num_devices, 100, slo_scale=5),
        profiles(even_profile("p", 0.4, 60)),
        gamma_workload(rates, 4.0, 60.0, 0),
    )


def test_a_small_problem_is_one_shard() -> None:
    (shard,) = cut(mixed())

    assert shard.nodes == (0,)
    assert shard.models == tuple(range(8))


def test_shards_share_the_nodes_and_the_models() -> None:
    problem = large()

    shards = cut(problem)

    assert len(shards) > 2
    assert sorted(node for shard in shards for node in shard.nodes) == list(range(18))
    assert sorted(model for shard in shards for model in shard.models) == list(range(40))
    loads = [sum(int(problem.workload.num_requests_of[m]) for m in s.models) / len(s.nodes) for s in shards]
    assert max(loads) < 2 * min(loads)


def test_a_shard_is_a_problem_with_the_requests_of_its_models() -> None:
    problem = large()

    parts = [shard.posed(problem) for shard in cut(problem)]

    assert sum(part.num_requests for part in parts) == problem.num_requests
    assert sum(part.spec.cluster.num_devices for part in parts) == 140
    for part in parts:
        assert set(part.spec.names) == {part.spec.names[m] for m in np.unique(part.workload.model)}


def test_pinned_and_spread_models_go_where_they_can_be() -> None:
    problem = with_models(large(), m3={"nodes": (9,)}, m4={"nodes": (1, 17)}, m5={"min_nodes": 3})

    shards = cut(problem)

    (third,) = [shard for shard in shards if 3 in shard.models]
    (fourth,) = [shard for shard in shards if 4 in shard.models]
    (fifth,) = [shard for shard in shards if 5 in shard.models]
    assert 9 in third.nodes
    assert third.posed(problem).spec.model("m3").nodes == (third.nodes.index(9),)
    assert {1, 17} & set(fourth.nodes)
    assert len(fifth.nodes) >= 3


def test_a_model_too_busy_for_a_shard_keeps_the_problem_whole() -> None:
    rates = {f"m{i}": 30.0 if i == 0 else 0.01 for i in range(30)}
    problem = posed(
        spec(dict.fromkeys(rates, "p"), 160, 100, slo_scale=5),
        profiles(even_profile("p", 0.4, 60)),
        gamma_workload(rates, 1.0, 20.0, 0),
    )

    assert len(cut(problem)) == 1


def test_groups_go_out_of_a_shard_and_in_again() -> None:
    problem = large()
    first, second = cut(problem)[:2]
    both = first.joined(second)
    search = Search(second.posed(problem))
    start = starting_points(search)[0]
    cluster = search.problem.spec.cluster

    from services.planner.policies.annealing.ground import held_groups

    groups = held_groups(cluster, start.fleet.partition, start.replicas)
    outside = second.outside(groups)

    assert second.inside(outside) == groups
    assert first.inside(outside) == []
    assert both.outside(both.inside(outside)) == outside


@pytest.mark.parametrize("pins", [{}, {"m3": {"nodes": (9,)}, "m5": {"min_nodes": 2}}])
def test_a_plan_in_shards_is_one_placement(pins: dict[str, dict[str, object]]) -> None:
    problem = with_models(large(), **pins)
    search = Search(problem, limits=Limits(4_000))

    found = plan_improved(search)
    start = starting_points(Search(problem))[0]

    assert search.num_simulations <= 4_000
    assert found.replicas.any(axis=1).all()
    assert (found.fleet.free_bytes(found.replicas) >= 0).all()
    devices = [device for own in found.fleet.partition.devices for device in own]
    assert len(set(devices)) == len(devices)
    assert found.attainment >= start.attainment
