"""Simulated requests per second, as ratios to a bare loop of the rule run beside them.

`python -m benchmarks.simulator`. 10⁶ requests; search overhead at 10⁴.
"""

import time
from dataclasses import replace
from functools import partial

import numpy as np

from benchmarks.bare_loop import bare_attained
from benchmarks.problems import SET, V100, gamma_traffic, in_turn, published_size, spec_of
from benchmarks.report import best_s, table, title
from services.core.batched_simulator import BATCHING_RULES, Batching, simulate_batched
from services.core.placement import Group, Placement
from services.core.problem import Problem, pose
from services.core.profile import ParallelConfig, StageProfile
from services.core.schedule import DISPATCH_RULES
from services.core.simulator import simulate, simulate_counts, warm_up
from services.planner.policies.annealing.chain import Leg, begin_chain, run_leg
from services.planner.policies.annealing.ground import fleet_of, groups_of, make_ground, state_of
from services.planner.policies.greedy import fill_greedily
from services.planner.policies.improved import groups_held, starting_points
from services.planner.policies.partition import uniform_partition
from services.planner.policies.search import Evaluation, Fleet, Replicas, Search

_REQUESTS = 1_000_000
_CASES = (
    # name, then groups, config, hosts of a model (0: all), requests per second
    ("32 groups of 1, 5 hosts a model", 32, ParallelConfig(1, 1), 5, 100.0),
    ("32 groups of 4, 5 hosts a model", 32, ParallelConfig(4, 1), 5, 400.0),
    ("32 groups of 8, 5 hosts a model", 32, ParallelConfig(8, 1), 5, 600.0),
    ("32 groups of 8, every model everywhere", 32, ParallelConfig(8, 1), 0, 600.0),
    ("8 groups of 8, every model everywhere", 8, ParallelConfig(8, 1), 0, 150.0),
)


def placed(num_groups: int, config: ParallelConfig, num_hosts: int, rate_per_s: float) -> tuple[Problem, Placement]:
    """64 mixed models on equal groups, memory no object."""
    size = config.num_devices
    spec = spec_of(in_turn(SET, 64), num_groups * size, memory_bytes=1 << 45)
    posed = pose(spec, V100, gamma_traffic(spec, rate_per_s, _REQUESTS / rate_per_s))
    draws = np.random.default_rng(0).random((64, num_groups)).argsort(axis=1)
    held = draws < (num_hosts or num_groups)
    groups = tuple(
        Group(config, tuple(range(g * size, (g + 1) * size)), tuple(f"m{m}" for m in np.flatnonzero(held[:, g])))
        for g in range(num_groups)
    )
    return posed, Placement(groups)


def unbatched_row(name: str, posed: Problem, placement: Placement) -> tuple[object, ...]:
    layout = posed.placement_layout(placement)
    bare_s = best_s(lambda: bare_attained(posed, layout))
    ratios = [
        bare_s / best_s(partial(simulate_counts, posed, layout, rule), 3 if rule else 5)
        for rule in range(len(DISPATCH_RULES))
    ]
    fates = bare_s / best_s(lambda: simulate(posed, layout, 0), 3)
    return name, posed.num_requests / bare_s / 1e6, *ratios, fates


def batched_row(name: str, posed: Problem, placement: Placement) -> tuple[object, ...]:
    """Only batch 1 is published, so larger batches are given costs here: half as much again for
    each further request."""
    models = {name: replace(model, stages=_with_batches(model.stages)) for name, model in V100.models.items()}
    posed = pose(posed.spec, replace(V100, models=models), posed.workload)
    layout = posed.placement_layout(placement)
    bare_s = best_s(lambda: bare_attained(posed, layout), 3)
    batchings = [Batching(16, rule) for rule in BATCHING_RULES]
    return name, *(bare_s / best_s(partial(simulate_batched, posed, placement, own), 2) for own in batchings)


def _with_batches(stages: tuple[StageProfile, ...]) -> tuple[StageProfile, ...]:
    sizes = (1, 2, 4, 8, 16)
    return tuple(
        replace(
            stage, batch_size=size, stage_latency_s=tuple(part * (1 + (size - 1) / 2) for part in stage.stage_latency_s)
        )
        for stage in stages
        for size in sizes
    )


class TwiceSimulated(Search):
    """A search that makes every simulation twice: what that adds to its time is the simulations'."""

    def simulate(self, fleet: Fleet, replicas: Replicas, problem: Problem | None = None) -> Evaluation:
        posed = problem or self.problem
        simulate_counts(posed, posed.layout(fleet.lanes, replicas), self.dispatch_rule)
        return super().simulate(fleet, replicas, problem)


def greedy_row() -> tuple[object, ...]:
    posed = published_size(64)
    cluster = posed.spec.cluster

    def fill(search: Search) -> int:
        config = ParallelConfig(8, 1)
        fill_greedily(search, search.fleet(uniform_partition(cluster, config, search.is_useful)))
        return search.num_simulations

    once_s, twice_s = best_s(lambda: fill(Search(posed)), 9), best_s(lambda: fill(TwiceSimulated(posed)), 9)
    kernel_s = max(twice_s - once_s, 1e-9)
    return "fast greedy, 64 models on 8 groups of 8", fill(Search(posed)), (once_s - kernel_s) / kernel_s


def walk_row(num_steps: int = 2_000) -> tuple[object, ...]:
    """The walk compiles what is around its simulations as well; hot, it makes them whole."""
    search = Search(published_size(64))
    ground = make_ground(search, [search.problem.requests])
    chain = begin_chain(ground, state_of(ground, groups_held(search, starting_points(search)[0])), 0)
    hot = 1e12
    run_leg(Leg(chain, 1, hot, hot))
    began_s = time.perf_counter()
    walked = run_leg(Leg(chain, num_steps, hot, hot))
    whole_s = (time.perf_counter() - began_s) / walked.num_simulations
    began_s = time.perf_counter()
    for _ in range(200):
        run_leg(Leg(walked, 0, hot, hot))
    survey_s = (time.perf_counter() - began_s) / 200
    partition, replicas = fleet_of(search.problem.spec.cluster, 64, groups_of(ground, walked.current))
    layout = search.problem.layout(search.fleet(partition).lanes, replicas)
    kernel_s = best_s(lambda: simulate_counts(search.problem, layout, 0), 50)
    return f"annealing (a leg without steps: {survey_s / kernel_s:.2f})", num_steps, whole_s / kernel_s - 1


def main() -> None:
    warm_up(published_size(8))
    title("Simulation, 10⁶ requests: speed as a ratio to the bare loop")
    header = ("case", "bare loop, 10⁶ requests/s", *DISPATCH_RULES, "earliest-free with every fate")
    table(header, (unbatched_row(case[0], *placed(*case[1:])) for case in _CASES))
    title("Batching up to 16, 10⁶ requests: speed as a ratio to the bare loop, unbatched")
    table(("case", *BATCHING_RULES), (batched_row(case[0], *placed(*case[1:])) for case in _CASES))
    title("Search overhead per simulation of 10⁴ requests, as a ratio to the simulation itself")
    table(("search", "simulations", "overhead / simulation"), [greedy_row(), walk_row()])


if __name__ == "__main__":
    main()
