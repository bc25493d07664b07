"""The leader decides as the simulator does: the same requests admitted, in the same batches, at the same instants."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.core.batched_simulator import INTERPRETED, Batching, simulate_batched
from services.core.model import RegisteredModel
from services.core.placement import Group
from services.core.problem import Problem
from services.worker.leader.executor import Replica
from services.worker.leader.flight import Served
from tests.core.batching_cases import batch_entry, long_batching_case
from tests.core.cases import Case, cases
from tests.worker.virtual_devices import VirtualDevices, virtual_group

NEVER = math.nan


def replica_of(problem: Problem, group: Group, model: str, max_size: int) -> Replica:
    profiles, profile = problem.profiles, problem.spec.model(model).profile
    sizes = sorted(stage.batch_size for stage in profiles[profile].stages if stage.config == group.config)
    return Replica(
        model=RegisteredModel(model, profile),
        stage_latency_s=profiles.stage_latency_s(profile, group.config),
        stage_weight_bytes=profiles[profile].at(group.config).stage_weight_bytes,
        request_overhead_s=profiles.request_overhead_s,
        larger_batches={
            size: profiles.stage_latency_s(profile, group.config, size) for size in sizes if 1 < size <= max_size
        },
    )


async def served_by_leader(problem: Problem, group: Group, requests: list[int], max_size: int) -> VirtualDevices:
    """What a leader makes of the requests that were dispatched to its group."""
    replicas = [replica_of(problem, group, model, max_size) for model in group.models]
    arrival_s, slo_s = problem.requests.arrival_s.tolist(), problem.slo_s.tolist()
    async with virtual_group(group.config.inter_op, replicas) as served:
        for request in requests:
            model = problem.spec.names[problem.requests.model[request]]
            await served.ask(request, model, arrival_s[request], slo_s[request])
        await served.devices.until(math.inf)
        assert all(task.done() for task in served.asked.values())
        answered = {request for request, task in served.asked.items() if isinstance(task.result(), Served)}
    assert answered == set(served.devices.finish_s)
    return served.devices


async def assert_alike(case: Case, max_size: int) -> None:
    problem, placement = case.problem(), replace(case.placement, dispatch=case.rule)
    simulated = simulate_batched(problem, placement, Batching(max_size), INTERPRETED)
    first_stage = 0
    for index, group in enumerate(placement.groups):
        requests = [request for request, chosen in enumerate(simulated.group.tolist()) if chosen == index]
        devices = await served_by_leader(problem, group, requests, max_size)
        overhead_s = problem.profiles.request_overhead_s
        finishes = [devices.finish_s.get(request, NEVER) + overhead_s for request in requests]
        assert finishes == pytest.approx(simulated.finish_s[requests].tolist(), rel=0, abs=0, nan_ok=True)
        stages = slice(first_stage, first_stage := first_stage + group.config.inter_op)
        assert devices.busy_s == simulated.stage_busy_s[stages].tolist()


@st.composite
def evenly_batched(draw: st.DrawFn) -> Case:
    """A case whose profiles all have the same batch sizes."""
    case = draw(cases())
    sizes = [1, *sorted(draw(st.sets(st.sampled_from([2, 3, 4, 8]))))]
    growth = st.sampled_from([0.0, 0.25, 0.5, 1.0, 1.5])
    models = [
        model | {"profiles": [batch_entry(entry, size, draw(growth)) for entry in model["profiles"] for size in sizes]}
        for model in case.profiles["models"]
    ]
    return replace(case, profiles=case.profiles | {"models": models})


@settings(max_examples=40, deadline=None)
@given(evenly_batched(), st.sampled_from([1, 2, 4, 8]))
async def test_a_leader_serves_what_the_simulator_says_when_it_says(case: Case, max_size: int) -> None:
    await assert_alike(case, max_size)


@pytest.mark.parametrize("max_size", [1, 8])
@pytest.mark.parametrize("rule", ["earliest-free", "shortest-queue"])
async def test_a_long_overloaded_run_of_a_leader_is_what_the_simulator_says(rule: str, max_size: int) -> None:
    await assert_alike(long_batching_case(rule, seed=0), max_size)
