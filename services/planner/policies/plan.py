"""A policy by name, run on a problem: the plan it makes, what it leaves out, and why."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from services.core.errors import InvalidArgument, NotPlaced
from services.core.placement import Placement
from services.core.profile import ParallelConfig
from services.planner.policies.baselines import (
    plan_fixed,
    plan_round_robin,
    plan_selective_replication,
    plan_uniform,
)
from services.planner.policies.bound import attainment_bound
from services.planner.policies.improved import plan_improved
from services.planner.policies.published import plan_published
from services.planner.policies.search import UNAVAILABLE_BYTES, Evaluation, Fleet, Replicas, Search

Policy = Callable[[Search], Evaluation]

DEFAULT_POLICY = "alpaserve"
POLICIES: dict[str, Policy] = {
    "alpaserve": plan_improved,
    "alpaserve-paper": plan_published,
    "selective-replication": plan_selective_replication,
    "round-robin": plan_round_robin,
    "uniform": plan_uniform,
}
POLICY_NAMES = (*POLICIES, "fixed-<inter>x<intra>")


class Unplaced(NamedTuple):
    """A model that no group of a plan holds, and why."""

    model: str
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What a policy decided. `attainment` is predicted on the problem's workload; `upper_bound` is
    what no placement can exceed on it."""

    placement: Placement
    policy: str
    attainment: float
    num_simulations: int
    upper_bound: float | None
    unplaced: tuple[Unplaced, ...]


def find_policy(name: str) -> Policy:
    """Raises: InvalidArgument listing the names."""
    fixed = re.fullmatch(r"fixed-([1-9][0-9]{0,3})x([1-9][0-9]{0,3})", name)
    if fixed is not None:
        return partial(plan_fixed, config=ParallelConfig(int(fixed[1]), int(fixed[2])))
    if name not in POLICIES:
        raise InvalidArgument(f"unknown policy {name!r}; there are: {', '.join(POLICY_NAMES)}")
    return POLICIES[name]


def make_plan(policy: str, search: Search) -> Plan:
    """Run a policy. Models without requests are added where there is room left.

    Raises: InvalidArgument for an unknown policy, NotPlaced if no model fits anywhere.
    """
    found = find_policy(policy)(search)
    replicas = with_idle_models(search, found)
    if not replicas.any():
        raise NotPlaced(f"no model can be placed: {no_room(search, found.fleet, replicas, 0)}")
    names = search.problem.spec.names
    missing = np.flatnonzero(~replicas.any(axis=1))
    return Plan(
        placement=found.fleet.placement(replicas, names, search.dispatch),
        policy=policy,
        attainment=found.attainment,
        num_simulations=search.num_simulations,
        upper_bound=attainment_bound(search.problem),
        unplaced=tuple(Unplaced(names[m], no_room(search, found.fleet, replicas, int(m))) for m in missing),
    )


def with_idle_models(search: Search, found: Evaluation) -> Replicas:
    """The replicas, and one of each unplaced model that the workload never asks for where one fits:
    it changes no figure of the plan, and the model can be asked for."""
    replicas = found.replicas.copy()
    idle = (search.problem.workload.num_requests_of == 0) & ~replicas.any(axis=1)
    for model in np.flatnonzero(idle):
        room = np.where(found.fleet.addable(replicas)[model], found.fleet.free_bytes(replicas), -1)
        group = int(np.argmax(room)) if len(room) else -1
        if group >= 0 and room[group] >= 0:
            replicas[model, group] = True
    return replicas


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
    configs = ", ".join(str(stage.config) for stage in stages)
    return f"profile {spec.profile!r} has the configs {configs}, none of them is a group of this plan"
