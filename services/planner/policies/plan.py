"""A policy by name, run on a problem: the plan it makes, what it leaves out, and why."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np

from services.core import simulator
from services.core.batched_simulator import attained_share
from services.core.errors import InvalidArgument, NotPlaced
from services.core.placement import Placement
from services.core.problem import Problem, pose
from services.core.profile import ParallelConfig
from services.core.synthesis import resampled
from services.core.timeline import Window
from services.planner.policies import improved
from services.planner.policies.baselines import (
    plan_fixed,
    plan_round_robin,
    plan_selective_replication,
    plan_uniform,
)
from services.planner.policies.beam import fill_by_beam
from services.planner.policies.clockwork import CLOCKWORK, DEFAULT_WINDOW_S, Replanned, plan_clockwork
from services.planner.policies.filling import Filling
from services.planner.policies.ilp import plan_ilp
from services.planner.policies.nodes import spread_shortfall
from services.planner.policies.published import plan_published, plan_unbucketed
from services.planner.policies.search import UNAVAILABLE_BYTES, Evaluation, Fleet, Replicas, Search
from services.planner.policies.spread import with_asked_nodes

Policy = Callable[[Search], Evaluation]

DEFAULT_POLICY = "alpaserve"
POLICIES: dict[str, Policy] = {
    "alpaserve": improved.plan_improved,
    "alpaserve-paper": plan_published,
    "alpaserve-paper-nobuckets": plan_unbucketed,
    "selective-replication": plan_selective_replication,
    "round-robin": plan_round_robin,
    "uniform": plan_uniform,
    "ilp": plan_ilp,
}
# What only one policy uses; the others would ignore it.
WINDOW_IS_FOR = CLOCKWORK
RESAMPLES_ARE_FOR = DEFAULT_POLICY
POLICY_NAMES = (*POLICIES, CLOCKWORK, "alpaserve-paper-beam<width>", "fixed-<inter>x<intra>")


# Far from the seeds of the workloads that a search resamples to plan for.
_HELD_OUT_SEED = 1 << 40
_MOST_HELD_OUT = 100_000


class Unplaced(NamedTuple):
    """A model that no group of a plan holds, or too few nodes, and why."""

    model: str
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What a policy decided. `attainment` is predicted on the problem's workload, `held_out_attainment`
    on one like it that no policy saw, and `upper_bound`, what no placement can exceed on the
    problem's, are for callers to fill in. Where `windows` follow each other, `placement`
    is the first one's, and `attainment` that of all of them, switching for free."""

    placement: Placement
    policy: str
    attainment: float
    num_simulations: int
    upper_bound: float | None
    unplaced: tuple[Unplaced, ...]
    windows: tuple[Window, ...] = ()
    held_out_attainment: float | None = None


def find_policy(name: str, window_s: float = DEFAULT_WINDOW_S) -> Policy:
    """Of policies that plan again, every `window_s`. Raises: InvalidArgument listing the names."""
    if name == CLOCKWORK:
        return partial(plan_clockwork, window_s=window_s)
    fixed = re.fullmatch(r"fixed-([1-9][0-9]{0,3})x([1-9][0-9]{0,3})", name)
    if fixed is not None:
        return partial(plan_fixed, config=ParallelConfig(int(fixed[1]), int(fixed[2])))
    beam = re.fullmatch(r"alpaserve-paper-beam([1-9][0-9]{0,3})", name)
    if beam is not None:
        return partial(plan_published, fill=partial(fill_by_beam, width=int(beam[1])))
    if name not in POLICIES:
        raise InvalidArgument(f"unknown policy {name!r}; there are: {', '.join(POLICY_NAMES)}")
    return POLICIES[name]


def check_used(option: str, policy: str, chosen: Sequence[str]) -> None:
    """Raises: InvalidArgument for an option that is only for one policy, if others are chosen."""
    if policy not in chosen:
        raise InvalidArgument(f"{option} is only for the policy {policy}; {', '.join(chosen)} would ignore it")


def warm_up(policy: str, problem: Problem) -> None:
    """Compile what the policy runs, once per installation: its search shall not pay for that."""
    simulator.warm_up(problem)
    if policy == DEFAULT_POLICY:
        improved.warm_up(problem)


def make_plan(policy: str, search: Search, window_s: float = DEFAULT_WINDOW_S) -> Plan:
    """Run a policy. Pinned and spread models get the nodes they lack, and models without requests are
    added where there is room left.

    Raises: InvalidArgument for an unknown policy, NotPlaced if no model fits anywhere.
    """
    found = find_policy(policy, window_s)(search)
    if not isinstance(found, Replanned):
        found = with_asked_nodes(search, found)
    replicas = with_idle_models(search, found)
    if not replicas.any():
        raise NotPlaced(f"no model can be placed: {no_room(search, found.fleet, replicas, 0)}")
    placement = found.fleet.placement(replicas, search.problem.spec.names, search.dispatch)
    windows = following(placement, found)
    later = {name for window in windows[1:] for group in window.placement.groups for name in group.models}
    return Plan(
        placement=placement,
        policy=policy,
        attainment=found.attainment,
        num_simulations=search.num_simulations,
        upper_bound=None,
        unplaced=tuple(left for left in left_out(search, found.fleet, replicas) if left.model not in later),
        windows=windows,
    )


def with_held_out(plan: Plan, problem: Problem, seed: int) -> Plan:
    """The plan, told what it attains on fresh traffic with the workload's statistics; nothing is told
    of plans that follow each other, or without any fresh request. Long workloads count by their beginning."""
    workload = problem.workload
    if len(workload) > _MOST_HELD_OUT:
        workload = workload.between(0.0, float(workload.arrival_s[_MOST_HELD_OUT]))
    fresh = resampled(workload, _HELD_OUT_SEED + seed)
    if plan.windows or not len(fresh):
        return plan
    posed = pose(problem.spec, problem.profiles, fresh)
    return replace(plan, held_out_attainment=attained_share(posed, plan.placement))


def following(first: Placement, found: Evaluation) -> tuple[Window, ...]:
    """The windows of what was planned again and again, `first` in the first one; none of others."""
    if not isinstance(found, Replanned):
        return ()
    return (replace(found.windows[0], placement=first), *found.windows[1:])


def left_out(search: Search, fleet: Fleet, replicas: Replicas) -> Iterator[Unplaced]:
    """Models on no group, and models on fewer nodes than they ask for."""
    spec = search.problem.spec
    lacks = spread_shortfall(spec, fleet.partition, replicas)
    for m, model in enumerate(spec.models):
        if not replicas[m].any():
            yield Unplaced(model.name, no_room(search, fleet, replicas, m))
        elif lacks[m]:
            reason = f"is placed on {model.min_nodes - lacks[m]} of the {model.min_nodes} nodes that it asks for"
            yield Unplaced(model.name, f"{reason}: no group on another one has room for it")


def with_idle_models(search: Search, found: Evaluation) -> Replicas:
    """The replicas, and one of each unplaced model that the workload never asks for where one fits:
    it changes no figure of the plan, and the model can be asked for."""
    filling = Filling(found.fleet, found.replicas)
    idle = (search.problem.workload.num_requests_of == 0) & ~found.replicas.any(axis=1)
    for model in np.flatnonzero(idle).tolist():
        filling.add_where_roomiest(model)
    return filling.replicas


def no_room(search: Search, fleet: Fleet, replicas: Replicas, model: int) -> str:
    """Why a model is on no group, with the figures."""
    cluster, spec = search.problem.spec.cluster, search.problem.spec.models[model]
    own = fleet.weight_bytes[model]
    lightest = int(own.min(initial=UNAVAILABLE_BYTES))
    if lightest <= cluster.memory_bytes:
        free_bytes = int(np.where(own == lightest, fleet.free_bytes(replicas), 0).max())
        return f"needs {lightest} bytes a device, {free_bytes} are left beside the models that are placed"
    stages = [stage for stage in search.problem.profiles[spec.profile].stages if stage.batch_size == 1]
    if not stages:
        return f"profile {spec.profile!r} has no config at batch size 1"
    best = min(stages, key=lambda stage: stage.heaviest_stage_bytes)
    if best.heaviest_stage_bytes > cluster.memory_bytes:
        return (
            f"needs {best.heaviest_stage_bytes} bytes a device even as {best.config}; "
            f"memory_bytes is {cluster.memory_bytes}"
        )
    if lightest < UNAVAILABLE_BYTES:
        return f"needs {lightest} bytes a device on the groups of this plan; memory_bytes is {cluster.memory_bytes}"
    if spec.nodes is not None and any(stage.config in fleet.partition.configs for stage in stages):
        return f"no group of this plan lies within its nodes {', '.join(map(str, spec.nodes))} and has a config of it"
    configs = ", ".join(str(stage.config) for stage in stages)
    return f"profile {spec.profile!r} has the configs {configs}, none of them is a group of this plan"
