"""Every policy makes plans that can run, and searches find what their rivals miss."""

from collections.abc import Callable

import pytest

from services.core.documents import parse_placement, placement_document
from services.core.errors import InvalidArgument, NotPlaced, UnknownProfile
from services.core.placement import group_weight_bytes
from services.core.problem import Problem
from services.core.profile import ParallelConfig
from services.core.simulator import simulate
from services.planner.policies.bound import attainment_bound
from services.planner.policies.plan import POLICIES, Plan, make_plan
from services.planner.policies.search import Limits, Search
from tests.planner.problems import at, bursty, entry, even_profile, mixed, posed, profiles, spec

ALL = [*POLICIES, "fixed-2x1", "alpaserve-paper-beam1"]
PROBLEMS = {"bursty": bursty, "mixed": mixed}


def plan(problem: Problem, policy: str, max_simulations: int | None = None) -> Plan:
    return make_plan(policy, Search(problem, limits=Limits(max_simulations)))


@pytest.mark.parametrize("policy", ALL)
@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
def test_a_plan_runs_as_predicted(problem: Callable[[], Problem], policy: str) -> None:
    posed_problem = problem()

    made = plan(posed_problem, policy)

    layout = posed_problem.placement_layout(made.placement)
    outcome = simulate(posed_problem, layout, made.placement.dispatch_rule)
    assert made.attainment == outcome.admitted.sum() / posed_problem.num_requests
    assert made.attainment <= attainment_bound(posed_problem)


@pytest.mark.parametrize("policy", ALL)
def test_memory_is_respected_and_devices_lie_within_nodes(policy: str) -> None:
    problem = mixed()

    placement = plan(problem, policy).placement

    cluster = problem.spec.cluster
    assert all(group_weight_bytes(group, problem.spec, problem.profiles) <= 100 for group in placement.groups)
    assert all(len({cluster.node_of(device) for device in group.devices}) == 1 for group in placement.groups)
    assert parse_placement(placement_document(placement)) == placement


@pytest.mark.parametrize("policy", ALL)
def test_the_same_seed_and_budget_make_the_same_plan(policy: str) -> None:
    first = plan(bursty(), policy, max_simulations=150)

    again = plan(bursty(), policy, max_simulations=150)

    assert first == again


@pytest.mark.parametrize("policy", ALL)
@pytest.mark.parametrize("budget", [1, 2, 7, 60])
def test_a_budget_is_kept_and_still_makes_a_plan(policy: str, budget: int) -> None:
    made = plan(mixed(), policy, max_simulations=budget)

    assert made.num_simulations <= budget
    assert made.attainment > 0


def test_a_search_that_is_out_of_time_at_once_still_makes_a_plan() -> None:
    search = Search(bursty(), limits=Limits(share_of_time=lambda: 1.0))

    assert make_plan("alpaserve", search).attainment > 0.3


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
def test_shared_pipelines_beat_replication_on_bursts_and_our_search_beats_both(
    problem: Callable[[], Problem],
) -> None:
    replicated = plan(problem(), "selective-replication").attainment
    unbucketed = plan(problem(), "alpaserve-paper-nobuckets").attainment
    published = plan(problem(), "alpaserve-paper").attainment
    ours = plan(problem(), "alpaserve").attainment

    assert replicated < unbucketed <= published <= ours


def test_more_steps_never_make_the_answer_worse() -> None:
    attainments = [plan(mixed(), "alpaserve", max_simulations=budget).attainment for budget in (100, 400)]

    assert attainments == sorted(attainments)


def test_progress_tells_the_best_so_far() -> None:
    heard: list[tuple[float, int]] = []
    search = Search(bursty(), on_progress=lambda attainment, count: heard.append((attainment, count)))

    made = make_plan("alpaserve", search)

    assert heard == sorted(heard)
    assert heard[-1][0] == made.attainment
    assert heard[-1][1] <= made.num_simulations


def test_our_search_settles_models_that_the_greedy_leaves_out_when_memory_is_tight() -> None:
    """Nine models of 60 bytes on eight devices of 100: single devices hold eight."""
    problem = bursty(num_models=9)

    assert plan(problem, "selective-replication").unplaced
    assert not plan(problem, "alpaserve").unplaced


def test_fixed_groups_have_the_config_and_leave_the_rest() -> None:
    placement = plan(bursty(), "fixed-4x1").placement

    assert [group.config for group in placement.groups] == [ParallelConfig(4, 1)] * 2


@pytest.mark.parametrize(
    ("policy", "error", "named"),
    [
        ("simulated-annealing", InvalidArgument, "selective-replication"),
        ("fixed-0x1", InvalidArgument, "fixed-<inter>x<intra>"),
        ("fixed-16x1", InvalidArgument, "16 devices"),
        ("fixed-3x1", UnknownProfile, "3x1"),
        ("alpaserve-paper-beam0", InvalidArgument, "alpaserve-paper-beam<width>"),
        ("alpaserve-paper-beam", InvalidArgument, "ilp"),
    ],
)
def test_policies_that_cannot_be_are_refused(policy: str, error: type[Exception], named: str) -> None:
    with pytest.raises(error, match=named):
        plan(bursty(), policy)


@pytest.mark.parametrize("policy", ["alpaserve", "alpaserve-paper", "selective-replication", "round-robin", "uniform"])
def test_a_model_that_fits_nowhere_is_named_beside_a_plan_for_the_rest(policy: str) -> None:
    huge = {"model": "huge", "profiles": [entry(1, 1, 1.0, 900), entry(2, 1, 1.0, 500)]}
    document = spec({"m0": "p", "m1": "huge"}, 4, 100, slo_s=3.0)
    problem = posed(document, profiles(even_profile("p", 0.4, 60), huge), at(0.0, 1.0, 2.0))

    made = plan(problem, policy)

    assert made.attainment == 1.0
    assert [unplaced.model for unplaced in made.unplaced] == ["m1"]
    assert "500 bytes a device even as 2x1; memory_bytes is 100" in made.unplaced[0].reason


@pytest.mark.parametrize("policy", POLICIES)
def test_nothing_that_fits_is_an_error(policy: str) -> None:
    problem = posed(spec({"m0": "p"}, 4, 10), profiles(even_profile("p", 0.4, 600)), at(0.0))

    with pytest.raises(NotPlaced, match="memory_bytes is 10"):
        plan(problem, policy)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_model_that_nobody_asked_for_yet_is_placed_where_there_is_room(policy: str) -> None:
    document = spec({"m0": "p", "idle": "p"}, 2, 100, slo_s=3.0)
    problem = posed(document, profiles(even_profile("p", 0.4, 40)), at(0.0, 0.1, 0.2))

    made = plan(problem, policy)

    assert not made.unplaced
    assert made.attainment == 1.0


def test_nodes_of_six_devices_are_filled_with_groups_within_them() -> None:
    document = spec({f"m{i}": "p" for i in range(6)}, 12, 100, slo_scale=5)
    document["cluster"]["devices_per_node"] = 6
    problem = posed(document, profiles(even_profile("p", 0.4, 60)), bursty(6).workload)

    placement = plan(problem, "alpaserve", max_simulations=300).placement

    nodes = [{device // 6 for device in group.devices} for group in placement.groups]
    assert all(len(node) == 1 for node in nodes)
    assert sum(len(group.devices) for group in placement.groups) == 12
