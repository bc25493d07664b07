"""How few devices, how much load: what the bisections tell, and what they do not take on trust."""

from collections.abc import Callable

import pytest

from services.core.errors import InvalidArgument, NotPlaced
from services.core.placement import Placement
from services.core.problem import Problem
from services.planner.policies.bisections import capacity, fewest_devices, fewest_nodes
from services.planner.policies.bound import attainment_bound
from services.planner.policies.plan import Plan, make_plan
from services.planner.policies.questions import Probe, Target, Vary, bound_for, given_plan, no_bound
from services.planner.policies.search import Limits, Search
from services.planner.policies.variations import MakePlan
from tests.planner.problems import at, bursty, even_profile, posed, profiles, spec

LIMITS = Limits(4000)


def searched(problem: Problem, limits: Limits) -> Plan:
    return make_plan("alpaserve", Search(problem, limits=limits))


def attaining(share_of: Callable[[int], float]) -> MakePlan:
    """Plans that attain what their number of devices says."""

    def make(problem: Problem, limits: Limits) -> Plan:
        return Plan(Placement(()), "scripted", share_of(problem.spec.cluster.num_devices), 1, None, ())

    return make


def cluster_of(num_devices: int, devices_per_node: int, **model: object) -> Problem:
    document = spec({"m0": "p"}, num_devices, 100)
    document["cluster"]["devices_per_node"] = devices_per_node
    document["models"][0] |= model
    return posed(document, profiles(even_profile("p", 0.4, 60)), at(1.0, 2.0))


@pytest.mark.parametrize("enough", [1, 2, 3, 4, 5, 7, 8, 9, 12, 16, 17, 29, 30])
def test_the_fewest_devices_are_found_within_nodes_and_beyond(enough: int) -> None:
    target = Target(0.9, attaining(lambda devices: 1.0 if devices >= enough else 0.5), LIMITS, no_bound)

    found = fewest_devices(cluster_of(30, 8), target)

    assert (found.num_devices, found.reached) == (enough, True)
    assert len(found.probes) <= 10


def test_more_devices_that_attain_less_mislead_nobody() -> None:
    target = Target(0.9, attaining(lambda devices: 1.0 if devices in (8, 7, 6, 4) else 0.5), LIMITS, no_bound)

    found = fewest_devices(cluster_of(8, 8), target)

    tried = {probe.value: probe.attainment for probe in found.probes}
    assert found.num_devices == min(size for size, share in tried.items() if share == 1.0)
    assert found.num_devices == 4


def test_a_target_that_nothing_reaches_is_told_with_the_whole_clusters_plan() -> None:
    found = fewest_devices(cluster_of(8, 8), Target(0.9, attaining(lambda devices: devices / 10), LIMITS, no_bound))

    assert (found.num_devices, found.reached, found.plan.attainment) == (8, False, 0.8)
    assert [probe.value for probe in found.probes] == [8]


def test_a_bound_below_the_target_spares_the_search() -> None:
    sizes: list[int] = []

    def make(problem: Problem, limits: Limits) -> Plan:
        sizes.append(problem.spec.cluster.num_devices)
        return attaining(lambda devices: 1.0)(problem, limits)

    bound = attaining(lambda devices: 0.5 if devices < 6 else 1.0)
    found = fewest_devices(cluster_of(8, 8), Target(0.9, make, LIMITS, lambda posed: bound(posed, LIMITS).attainment))

    assert found.num_devices == 6
    assert min(sizes) == 6
    assert [probe.value for probe in found.probes if probe.attainment is None] == [4, 5]


@pytest.mark.parametrize(("model", "num_nodes"), [({"nodes": [0, 2]}, 3), ({"min_nodes": 2}, 2), ({}, 1)])
def test_nodes_that_models_ask_for_stay(model: dict[str, object], num_nodes: int) -> None:
    problem = cluster_of(16, 4, **model)

    found = fewest_devices(problem, Target(0.5, attaining(lambda devices: 1.0), LIMITS, no_bound))

    assert fewest_nodes(problem.spec) == num_nodes
    assert found.num_devices == 4 * (num_nodes - 1) + 1


def test_a_real_search_needs_fewer_devices_for_less() -> None:
    problem = bursty()
    probes: list[Probe] = []

    few, many = (
        fewest_devices(problem, Target(share, searched, LIMITS, attainment_bound, probes.append))
        for share in (0.3, 0.8)
    )

    assert few.reached
    assert many.reached
    assert few.num_devices < many.num_devices <= 8
    assert few.plan.attainment >= 0.3
    assert {device for group in few.plan.placement.groups for device in group.devices} <= set(range(few.num_devices))
    assert tuple(probes) == (*few.probes, *many.probes)
    assert all(probe.attainment is None or probe.attainment <= (probe.upper_bound or 0) for probe in probes)
    assert sum(probe.num_simulations for probe in few.probes) <= 4000


def test_what_cannot_be_placed_on_fewer_devices_is_no_error() -> None:
    def make(problem: Problem, limits: Limits) -> Plan:
        if problem.spec.cluster.num_devices < 3:
            raise NotPlaced("no model can be placed")
        return attaining(lambda devices: 1.0)(problem, limits)

    found = fewest_devices(cluster_of(8, 8), Target(1.0, make, LIMITS, no_bound))

    assert found.num_devices == 3


def test_time_that_is_over_ends_the_question_with_what_was_found() -> None:
    limits = Limits(None, lambda: 1.0)

    found = fewest_devices(cluster_of(8, 8), Target(0.9, attaining(lambda devices: 1.0), limits, no_bound))

    assert (found.num_devices, len(found.probes)) == (8, 1)


def test_capacity_is_the_highest_scale_that_was_seen_to_reach_the_target() -> None:
    problem = bursty()
    target = Target(0.8, searched, LIMITS, attainment_bound)

    found = capacity(problem, Vary.RATE, target, precision=0.1)

    reached = [probe.value for probe in found.probes if (probe.attainment or 0) >= 0.8]
    failed = [probe.value for probe in found.probes if (probe.attainment or 0) < 0.8]
    assert found.scale == max(reached)
    assert min(failed) <= found.scale * 1.1
    assert found.plan is not None
    assert found.plan.attainment >= 0.8
    assert not found.is_open_ended


def test_capacity_of_a_placement_that_stays_is_less_than_planned_anew() -> None:
    problem = bursty()
    kept = make_plan("selective-replication", Search(problem)).placement

    fixed = capacity(problem, Vary.RATE, Target(0.8, given_plan(kept), LIMITS, no_bound))
    planned = capacity(problem, Vary.RATE, Target(0.8, searched, LIMITS, attainment_bound))

    assert fixed.plan is not None
    assert fixed.plan.placement == kept
    assert (fixed.scale or 0) < (planned.scale or 0)
    assert all(probe.upper_bound is None for probe in fixed.probes)


def test_burstiness_is_scaled_at_the_same_rate() -> None:
    problem = bursty()

    found = capacity(problem, Vary.CV, Target(0.8, searched, LIMITS, attainment_bound), precision=0.2)

    rates = [probe.rate_per_s for probe in found.probes]
    assert found.reached
    assert rates == pytest.approx([rates[0]] * len(rates))


def test_capacity_without_end_says_so_and_without_beginning_too() -> None:
    problem = cluster_of(1, 1)

    endless = capacity(problem, Vary.CV, Target(1.0, attaining(lambda devices: 1.0), LIMITS, no_bound))
    none = capacity(problem, Vary.RATE, Target(1.0, attaining(lambda devices: 0.9), LIMITS, no_bound))

    assert (endless.is_open_ended, endless.scale) == (True, 64.0)
    assert (none.reached, none.scale, none.plan) == (False, None, None)


def test_the_same_limits_find_the_same_again() -> None:
    target = Target(0.8, searched, LIMITS, attainment_bound)

    assert fewest_devices(bursty(), target) == fewest_devices(bursty(), target)


@pytest.mark.parametrize("share", [0.0, -0.1, 1.01, float("nan"), float("inf")])
def test_targets_outside_are_refused(share: float) -> None:
    with pytest.raises(InvalidArgument, match=str(share)):
        Target(share, searched, LIMITS, no_bound)


@pytest.mark.parametrize("precision", [0.0, -1.0, float("nan")])
def test_precisions_that_are_none_are_refused(precision: float) -> None:
    with pytest.raises(InvalidArgument, match="precision"):
        capacity(bursty(), Vary.RATE, Target(0.9, searched, LIMITS, no_bound), precision=precision)


def test_nothing_bounds_plans_that_follow_each_other() -> None:
    assert bound_for("clockwork++")(bursty()) is None
    assert bound_for("alpaserve")(bursty()) is not None
