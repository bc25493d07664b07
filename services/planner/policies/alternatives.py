"""Why a model is where it is: every other place for one of its replicas, each simulated on the same requests."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from services.core.attainment import Outcome
from services.core.batched_simulator import simulate_as_placed
from services.core.errors import DoesNotFit, InvalidPlacement, UnknownProfile
from services.core.placement import Group, Placement, check_placement
from services.core.problem import Problem
from services.core.simulator import Serve, serve_once, simulate_counts

# Changes of one replica, `here` and `there` being groups: what may be said of an alternative.
MOVED, SWAPPED, ADDED, DROPPED, DISPLACED = "moved", "swapped", "added", "dropped", "displaced"
# With these the model has as many replicas as before.
ELSEWHERE = (MOVED, SWAPPED)


@dataclass(frozen=True, slots=True)
class Alternative:
    """A placement in which one replica of the model is elsewhere, and what it attains: of all requests, and of the
    model's own, None if it has none. `here` is the group that loses the replica, `there` the one that gains it, None
    where there is none; `other` is the model that goes the other way, or goes for good if `displaced`."""

    change: str
    here: int | None
    there: int | None
    other: str
    attainment: float
    own_attainment: float | None


@dataclass(frozen=True, slots=True)
class Alternatives:
    """What the placement as it is attains, and its alternatives, the best first; `num_left` were not simulated."""

    attainment: float
    own_attainment: float | None
    tried: tuple[Alternative, ...]
    num_unfit: int
    num_left: int

    @property
    def runner_up(self) -> Alternative | None:
        """The best with the model elsewhere; None if it fits nowhere else."""
        return next((one for one in self.tried if one.change in ELSEWHERE), None)


def alternatives(problem: Problem, placement: Placement, model: str, is_over: Callable[[], bool]) -> Alternatives:
    """Simulate the alternatives for a model until `is_over`.

    Raises: InvalidSpec for a model that the spec lacks; InvalidPlacement, UnknownProfile or DoesNotFit if the
    placement as it is cannot be.
    """
    index = problem.spec.names.index(problem.spec.model(model).name)
    possible = list(_changes(placement, model))
    serve = serve_once(problem.num_requests * (len(possible) + 1))
    attained = _attained(problem, placement, serve)
    num_requests = problem.workload.num_requests_of[index]

    def shares(counts: NDArray[np.int64]) -> tuple[float, float | None]:
        own = int(counts[index]) / int(num_requests) if num_requests else None
        return int(counts.sum()) / problem.num_requests, own

    tried, num_unfit, num_left = [], 0, 0
    for change, here, there, other, changed in possible:
        if is_over():
            num_left += 1
        elif not _is_possible(problem, changed, model, change):
            num_unfit += 1
        else:
            tried.append(Alternative(change, here, there, other, *shares(_attained(problem, changed, serve))))
    tried.sort(key=lambda one: (one.attainment, one.own_attainment or 0.0), reverse=True)
    return Alternatives(*shares(attained), tuple(tried), num_unfit, num_left)


_Change = tuple[str, int | None, int | None, str, Placement]


def _changes(placement: Placement, model: str) -> Iterator[_Change]:
    """Moves first: they are what is asked for, should the time not suffice for all."""
    groups = placement.groups
    hosts = placement.hosts(model)
    free = [g for g in range(len(groups)) if g not in hosts]
    for here in hosts:
        for there in free:
            yield MOVED, here, there, "", _with(placement, {here: ({model}, set()), there: (set(), {model})})
    for here in hosts:
        yield DROPPED, here, None, "", _with(placement, {here: ({model}, set())})
    for there in free:
        yield ADDED, None, there, "", _with(placement, {there: (set(), {model})})
    for there in free:
        for other in groups[there].models:
            if not hosts:
                yield DISPLACED, None, there, other, _with(placement, {there: ({other}, {model})})
            for here in hosts:
                if other not in groups[here].models:
                    both = {here: ({model}, {other}), there: ({other}, {model})}
                    yield SWAPPED, here, there, other, _with(placement, both)


def _with(placement: Placement, changes: dict[int, tuple[set[str], set[str]]]) -> Placement:
    """The placement with models taken from groups, and others given."""

    def changed(g: int, group: Group) -> Group:
        gone, come = changes.get(g, (set(), set()))
        return replace(group, models=(*(name for name in group.models if name not in gone), *sorted(come)))

    return replace(placement, groups=tuple(changed(g, group) for g, group in enumerate(placement.groups)))


def _is_possible(problem: Problem, placement: Placement, model: str, change: str) -> bool:
    """Whether memory, profiles and the model's wishes for nodes allow it; a model may always be worth less."""
    try:
        check_placement(placement, problem.spec, problem.profiles)
    except (DoesNotFit, InvalidPlacement, UnknownProfile):
        return False
    if change == DROPPED:
        return True
    cluster = problem.spec.cluster
    nodes = {cluster.node_of(device) for g in placement.hosts(model) for device in placement.groups[g].devices}
    return change == ADDED or len(nodes) >= problem.spec.model(model).min_nodes


def _attained(problem: Problem, placement: Placement, serve: Serve) -> NDArray[np.int64]:
    """Requests that keep their SLOs, (num_models,)."""
    if placement.max_batch_size == 1:
        return simulate_counts(problem, problem.placement_layout(placement), placement.dispatch_rule, serve).attained
    outcome: Outcome = simulate_as_placed(problem, placement)
    own = problem.workload.model[outcome.attained(problem)]
    return np.bincount(own, minlength=problem.num_models).astype(np.int64)
