"""Beam search of model selection: groups are given, replicas are added (AlpaServe, algorithm 1)."""

import numpy as np
from numpy.typing import NDArray

from services.core.problem import Problem
from services.planner.policies.greedy import better_published, fill_by_estimate
from services.planner.policies.search import Evaluation, Fleet, Replicas, Search


def fill_by_beam(search: Search, fleet: Fleet, problem: Problem | None = None, *, width: int = 1) -> Evaluation:
    """The best solution seen by published score while each of the `width` best is extended by every
    replica that fits, until nothing does. Models without requests are left out.

    A budget that ends first leaves one simulation for an estimate of the whole filling. One
    simulation is always made.
    """
    posed = problem or search.problem
    asked = posed.workload.num_requests_of > 0
    alike = _alike_groups(fleet)
    best: Evaluation | None = None
    beam: list[Replicas] = [fleet.empty()]
    while beam:
        found: list[Evaluation] = []
        for replicas in _extensions(fleet, beam, asked, alike):
            if not search.may_simulate(reserve=1):
                estimated = fill_by_estimate(search, fleet, posed)
                return better_published(_best_of(best, found), estimated)
            found.append(search.simulate(fleet, replicas, posed))
        found.sort(key=lambda solution: -solution.published_score)
        beam = [solution.replicas for solution in found[:width]]
        best = _best_of(best, found[:1])
    return best or search.simulate(fleet, fleet.empty(), posed)


def _extensions(
    fleet: Fleet, beam: list[Replicas], asked: NDArray[np.bool_], alike: list[NDArray[np.intp]]
) -> list[Replicas]:
    """Every solution by one replica of a requested model; of equal results one, in order."""
    extended: dict[bytes, Replicas] = {}
    for replicas in beam:
        for model, group in np.argwhere(fleet.addable(replicas) & asked[:, None]):
            solution = replicas.copy()
            solution[model, group] = True
            extended.setdefault(_signature(solution, alike), solution)
    return list(extended.values())


def _alike_groups(fleet: Fleet) -> list[NDArray[np.intp]]:
    """Groups by index that differ in nothing but their devices: a config, and who may be there."""
    kinds: dict[tuple[str, bytes], list[int]] = {}
    for group, config in enumerate(fleet.partition.configs):
        kinds.setdefault((str(config), fleet.weight_bytes[:, group].tobytes()), []).append(group)
    return [np.array(groups, dtype=np.intp) for groups in kinds.values()]


def _signature(replicas: Replicas, alike: list[NDArray[np.intp]]) -> bytes:
    """Equal for solutions that exchange what alike groups hold."""
    packed = np.packbits(replicas, axis=0).T
    return b"".join(b"".join(sorted(column.tobytes() for column in packed[groups])) for groups in alike)


def _best_of(best: Evaluation | None, found: list[Evaluation]) -> Evaluation | None:
    for solution in found:
        best = better_published(best, solution)
    return best
