"""A real planner's searches: what it tells while they run, and when they end."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alpaserve.v1 import planner_pb2
from alpaserve_cli.wire import cluster_message, model_messages, workload_message
from alpaserve_client import AlpaServeClientError, InvalidArgument, PlannerClient
from google.protobuf import duration_pb2

from services.core.problem import Problem
from services.infra.wire import profiles_message
from services.planner.policies.bound import attainment_bound
from tests.conftest import System
from tests.planner.problems import bursty
from tests.waiting import until

PROBLEM = bursty(num_models=16)
MINUTE = duration_pb2.Duration(seconds=60)


@pytest.fixture(scope="module")
def client(system: System) -> Iterator[PlannerClient]:
    with PlannerClient(system.start("planner").address) as client:
        yield client


def asked(problem: Problem = PROBLEM, **search: object) -> planner_pb2.PlanRequest:
    return planner_pb2.PlanRequest(
        models=model_messages(problem.spec),
        cluster=cluster_message(problem.spec.cluster),
        profiles=profiles_message(problem.profiles),
        workload=workload_message(problem.workload),
        validate_only=True,
        **search,  # type: ignore[arg-type]
    )


def within(seconds: float) -> planner_pb2.PlanRequest:
    request = asked()
    request.time_budget.FromNanoseconds(round(seconds * 1e9))
    return request


def test_progress_tells_how_far_and_how_fast_and_the_bound(client: PlannerClient) -> None:
    *progress, last = client.plan(within(1.5))

    told = [response.progress for response in progress]
    counts = [one.num_simulations for one in told]
    assert len(told) >= 4
    assert counts == sorted(counts)
    assert counts[0] < counts[-1] <= last.plan.num_simulations
    assert told[-1].simulations_per_s == pytest.approx(counts[-1] / told[-1].search_s)
    assert told[-1].upper_bound == last.plan.upper_bound == attainment_bound(PROBLEM)
    assert max(one.attainment for one in told) <= last.plan.attainment <= last.plan.upper_bound


def test_a_time_budget_is_respected_and_used(client: PlannerClient) -> None:
    began_s = time.monotonic()

    *_, last = client.plan(within(1.0))

    assert last.plan.search_s >= 0.9
    assert time.monotonic() - began_s < 60


def test_simulations_alone_bound_a_search_that_can_be_had_again(client: PlannerClient) -> None:
    first, again = (list(client.plan(asked(max_simulations=300, seed=3)))[-1].plan for _ in range(2))

    first.search_s = again.search_s = 0.0
    assert first == again
    assert first.HasField("upper_bound")
    assert not first.HasField("target")


def is_idle(pid: int) -> bool:
    """Whether a process leaves the processor alone for a while."""
    before_s = cpu_s(pid)
    time.sleep(0.3)
    return cpu_s(pid) - before_s < 0.1


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def test_a_search_ends_with_the_client_that_asked_for_it(client: PlannerClient, system: System) -> None:
    (planner,) = system.processes
    responses = client.plan(within(600.0))
    next(responses)
    assert not is_idle(planner.pid)

    responses.close()  # type: ignore[attr-defined]

    await until(lambda: is_idle(planner.pid))


@pytest.mark.parametrize("target", [-0.5, 1.5, float("nan")])
def test_targets_that_are_none_are_refused(client: PlannerClient, target: float) -> None:
    with pytest.raises(AlpaServeClientError, match="target"):
        list(client.plan(asked(target=target)))


@pytest.mark.parametrize(
    ("question", "named"),
    [
        ({}, "grid or a capacity"),
        ({"grid": planner_pb2.Grid(rate_scales=[-1.0])}, "rate_scales"),
        ({"grid": planner_pb2.Grid(num_devices=[4, 4])}, "num_devices"),
        ({"grid": planner_pb2.Grid(policies=["guess"])}, "guess"),
        ({"capacity": planner_pb2.CapacityQuestion(vary="size", target=0.9)}, "size"),
        ({"capacity": planner_pb2.CapacityQuestion(vary="rate", target=2.0)}, "target"),
        ({"capacity": planner_pb2.CapacityQuestion(vary="rate", target=0.9, precision=-1)}, "precision"),
    ],
)
def test_questions_that_mean_nothing_are_refused(
    client: PlannerClient, question: dict[str, object], named: str
) -> None:
    request = planner_pb2.ExploreRequest(plan=asked(max_simulations=10), **question)  # type: ignore[arg-type]

    with pytest.raises(AlpaServeClientError, match=named):
        list(client.explore(request))


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"window": MINUTE}, "window is only for the policy clockwork[+][+]; alpaserve would ignore it"),
        ({"policy": "uniform", "num_resamples": 0}, "num_resamples is only for the policy alpaserve; uniform would"),
    ],
)
def test_what_the_policy_does_not_use_is_refused(client: PlannerClient, given: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidArgument, match=named):
        list(client.plan(asked(max_simulations=10, **given)))


def test_batches_of_windows_are_refused_before_anything_is_searched(client: PlannerClient) -> None:
    with pytest.raises(InvalidArgument, match="windows, which are served one request at a time, not up to 4"):
        next(iter(client.plan(asked(max_simulations=10, policy="clockwork++", max_batch_size=4))))


@pytest.mark.parametrize(
    ("question", "given", "named"),
    [
        ({"grid": planner_pb2.Grid(policies=["uniform", "ilp"])}, {"window": MINUTE}, "window .*; uniform, ilp would"),
        (
            {"capacity": planner_pb2.CapacityQuestion(vary="rate", target=0.9)},
            {"policy": "ilp", "num_resamples": 2},
            "num_resamples .*; ilp would",
        ),
        (
            {"capacity": planner_pb2.CapacityQuestion(vary="rate", target=0.9)},
            {"policy": "clockwork++", "max_batch_size": 4},
            "one request at a time, not up to 4",
        ),
    ],
)
def test_what_a_question_cannot_use_is_refused(
    client: PlannerClient, question: dict[str, Any], given: dict[str, Any], named: str
) -> None:
    request = planner_pb2.ExploreRequest(plan=asked(max_simulations=10, **given), **question)

    with pytest.raises(InvalidArgument, match=named):
        list(client.explore(request))


def test_a_grid_may_give_what_one_of_its_policies_uses(client: PlannerClient) -> None:
    grid = planner_pb2.Grid(policies=["uniform", "clockwork++"])
    request = planner_pb2.ExploreRequest(plan=asked(max_simulations=100, window=MINUTE), grid=grid)

    cells = [response.cell for response in client.explore(request)]

    assert {cell.policy for cell in cells} == {"uniform", "clockwork++"}


def test_cells_come_one_by_one(client: PlannerClient) -> None:
    grid = planner_pb2.Grid(num_devices=[2, 4, 8], rate_scales=[1.0, 2.0])
    request = planner_pb2.ExploreRequest(plan=asked(max_simulations=600), grid=grid)

    cells = [response.cell for response in client.explore(request)]

    assert sorted((cell.num_devices, cell.rate_scale) for cell in cells) == [
        (num_devices, rate) for num_devices in (2, 4, 8) for rate in (1.0, 2.0)
    ]
    assert {cell.policy for cell in cells} == {"alpaserve"}
    assert not any(cell.HasField("slo_scale") for cell in cells)
