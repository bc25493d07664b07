"""Models that the user pins to nodes or spreads over them: every policy obeys, or says what it could not."""

from typing import Any

import numpy as np
import pytest

from services.core.errors import DoesNotFit, InvalidPlacement
from services.core.placement import Group, Placement, check_placement
from services.core.problem import Problem
from services.core.profile import ParallelConfig
from services.core.simulator import simulate
from services.planner.policies.nodes import spread_shortfall
from services.planner.policies.partition import uniform_partition
from services.planner.policies.plan import POLICIES, Plan, make_plan
from services.planner.policies.search import Limits, Search
from services.planner.policies.spread import spread_replicas
from tests.planner.problems import at, bursty, even_profile, mixed, posed, profiles, spec

# Beside our own search, whose walk has tests of its own.
ALL = [*POLICIES, "fixed-2x1", "alpaserve-paper-beam1"]


def on_nodes(asked: dict[str, dict[str, Any]], problem: Problem, num_devices: int | None = None) -> Problem:
    """The problem on nodes of four devices, with what its models ask for."""
    profile_of = {model.name: model.profile for model in problem.spec.models}
    document = spec(profile_of, num_devices or problem.spec.cluster.num_devices, 100, slo_scale=5)
    document["cluster"]["devices_per_node"] = 4
    for model in document["models"]:
        model.update(asked.get(model["name"], {}))
    both = profiles(even_profile("p", 0.4, 60), even_profile("short", 0.1, 20), even_profile("long", 1.0, 70))
    return posed(document, both, problem.workload)


def plan(problem: Problem, policy: str, max_simulations: int | None = 120) -> Plan:
    return make_plan(policy, Search(problem, limits=Limits(max_simulations)))


def nodes_of(made: Plan, model: str) -> set[int]:
    return {device // 4 for group in made.placement.groups if model in group.models for device in group.devices}


@pytest.mark.parametrize("policy", ALL)
def test_a_pinned_model_stays_on_its_nodes(policy: str) -> None:
    problem = on_nodes({"m0": {"nodes": [3]}, "m1": {"nodes": [0, 2]}}, bursty(4, 16))

    made = plan(problem, policy)

    assert nodes_of(made, "m0") == {3}
    assert nodes_of(made, "m1") <= {0, 2}
    assert not made.unplaced
    check_placement(made.placement, problem.spec, problem.profiles)


@pytest.mark.parametrize("policy", ALL)
def test_a_spread_model_stands_on_as_many_nodes_as_it_asks_for(policy: str) -> None:
    problem = on_nodes({"long0": {"min_nodes": 3}, "short1": {"min_nodes": 2, "nodes": [1, 2]}}, mixed(), 12)

    made = plan(problem, policy)

    outcome = simulate(problem, problem.placement_layout(made.placement), made.placement.dispatch_rule)
    assert len(nodes_of(made, "long0")) >= 3
    assert nodes_of(made, "short1") == {1, 2}
    assert made.attainment == outcome.admitted.sum() / problem.num_requests
    assert made.num_simulations <= 120


def test_what_cannot_be_spread_is_told_beside_the_plan() -> None:
    """Eight devices, a model each: nobody gives up its last replica for another's second."""
    problem = on_nodes({"m0": {"min_nodes": 2}}, bursty(8, 8))

    made = plan(problem, "uniform")

    told = {left.model: left.reason for left in made.unplaced}
    assert len(nodes_of(made, "m0")) == 1
    assert "1 of the 2 nodes" in told["m0"]


def test_a_model_whose_nodes_no_group_lies_within_is_told_so() -> None:
    """Groups of eight devices stand on two nodes each."""
    problem = on_nodes({"m0": {"nodes": [1]}}, bursty(2, 8))

    made = plan(problem, "fixed-8x1")

    assert [left.model for left in made.unplaced] == ["m0"]
    assert "nodes 1" in made.unplaced[0].reason


def test_surplus_replicas_make_way_and_last_ones_do_not() -> None:
    problem = on_nodes({"m0": {"min_nodes": 2}}, bursty(3, 8))
    search = Search(problem)
    fleet = search.fleet(uniform_partition(problem.spec.cluster, ParallelConfig(1, 1), search.is_useful))
    replicas = np.zeros((3, 8), dtype=np.bool_)
    replicas[[0, 1, 1, 1, 1, 1, 1, 2], range(8)] = True

    spread = spread_replicas(problem.spec, fleet, replicas, problem.workload.num_requests_of)

    assert spread_shortfall(problem.spec, fleet.partition, replicas).tolist() == [1, 0, 0]
    assert spread.any(axis=1).all()
    assert spread[0, 4:].any()
    assert spread[2].tolist() == replicas[2].tolist()


def test_models_that_ask_for_nothing_lack_nothing() -> None:
    problem = on_nodes({"m1": {"min_nodes": 3}, "m2": {"nodes": [1]}}, bursty(3, 12))
    search = Search(problem)
    fleet = search.fleet(uniform_partition(problem.spec.cluster, ParallelConfig(1, 1), search.is_useful))

    assert spread_shortfall(problem.spec, fleet.partition, fleet.empty()).tolist() == [0, 3, 1]


def test_a_placement_off_a_models_nodes_is_refused_by_name() -> None:
    problem = on_nodes({"m0": {"nodes": [0]}}, bursty(2, 8))
    placement = Placement((Group(ParallelConfig(2, 1), (0, 1)), Group(ParallelConfig(2, 1), (4, 5), ("m0",))))

    with pytest.raises(InvalidPlacement, match="group 1 holds model 'm0' on device 4 of node 1; its nodes are 0"):
        problem.placement_layout(placement)


def test_a_placement_that_spreads_too_little_can_still_be_simulated() -> None:
    problem = on_nodes({"m0": {"min_nodes": 2}}, bursty(1, 8))
    placement = Placement((Group(ParallelConfig(1, 1), (0,), ("m0",)),))

    assert simulate(problem, problem.placement_layout(placement), 0).admitted.any()


def test_memory_is_checked_before_anything_is_spread() -> None:
    problem = on_nodes({}, bursty(2, 4))
    placement = Placement((Group(ParallelConfig(1, 1), (0,), ("m0", "m1")),))

    with pytest.raises(DoesNotFit):
        problem.placement_layout(placement)


def test_an_idle_model_is_pinned_as_well() -> None:
    document = spec({"m0": "p", "idle": "p"}, 8, 100, slo_s=3.0)
    document["cluster"]["devices_per_node"] = 4
    document["models"][1]["nodes"] = [1]
    problem = posed(document, profiles(even_profile("p", 0.4, 40)), at(0.0, 0.1, 0.2))

    made = plan(problem, "alpaserve-paper")

    assert nodes_of(made, "idle") == {1}
