"""Why 32 x BERT-1.3B on 16 devices at SLO scale 2 stay far below their bound: every way to cut the nodes.

`python -m benchmarks.every_partition`. All partitions of the two nodes into groups of any config are
filled, by value and by the fast greedy, and the best are walked: none attains more than the plan does.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations_with_replacement

from benchmarks.problems import DEVICES_PER_NODE, HARD_CASES
from benchmarks.report import percent, table, title
from services.core.profile import ParallelConfig
from services.core.simulator import warm_up
from services.planner.policies.annealing.chain import Leg, begin_chain, run_leg
from services.planner.policies.annealing.ground import make_ground, state_of, useful_configs
from services.planner.policies.bound import attainment_bound
from services.planner.policies.constructive import fill_by_value
from services.planner.policies.greedy import fill_greedily
from services.planner.policies.improved import groups_held
from services.planner.policies.partition import pack
from services.planner.policies.search import Evaluation, Search

_CASE = "32 x bert-1.3b on 16, SLO scale 2, 32/s"
_WALKED = 40
_STEPS = 2_000


def node_cuts(configs: tuple[ParallelConfig, ...], num_devices: int) -> Iterator[tuple[ParallelConfig, ...]]:
    """Multisets of configs that take exactly so many devices."""
    if num_devices == 0:
        yield ()
    for index, config in enumerate(configs):
        if config.num_devices <= num_devices:
            for rest in node_cuts(configs[index:], num_devices - config.num_devices):
                yield (config, *rest)


def filled(search: Search) -> list[Evaluation]:
    """Every partition, filled, best first."""
    cuts = list(node_cuts(useful_configs(search), DEVICES_PER_NODE))
    found = []
    for first, second in combinations_with_replacement(cuts, 2):
        partition = pack(search.problem.spec.cluster, [*first, *second])
        if partition is not None:
            fleet = search.fleet(partition)
            found += [fill_by_value(search, fleet), fill_greedily(search, fleet)]
    return sorted(found, key=lambda own: -own.num_attained)


def main() -> None:
    problem = HARD_CASES[_CASE]()
    warm_up(problem)
    search = Search(problem)
    found = filled(search)
    ground = make_ground(search, [problem.requests])
    chains = [begin_chain(ground, state_of(ground, groups_held(search, own)), 0) for own in found[:_WALKED]]
    with ThreadPoolExecutor() as threads:
        walked = list(threads.map(run_leg, [Leg(chain, _STEPS, 1.0, 0.2) for chain in chains]))
    best = max(chain.attained for chain in walked) / problem.num_requests
    title(f"{_CASE}: all partitions")
    header = ("partitions", "best filled", "median filled", f"best of {_WALKED} walked {_STEPS} steps", "bound")
    median = found[len(found) // 2].attainment
    shares = (found[0].attainment, median, best, attainment_bound(problem))
    table(header, [(len(found) // 2, *(percent(share) for share in shares))])


if __name__ == "__main__":
    main()
