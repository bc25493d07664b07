"""Our own search: constructive placements on every kind of group, then annealing from the best.

The greedy never looks back, which costs most when memory is tight; the walk does, and changes the
groups as well. A large problem is walked shard by shard, then by pairs of shards.
"""

from collections.abc import Sequence
from functools import partial

from services.core.kernel import Requests
from services.core.problem import Problem, pose
from services.core.synthesis import resampled
from services.planner.policies.annealing.chain import Leg, begin_chain, run_leg
from services.planner.policies.annealing.cooling import Part, cool
from services.planner.policies.annealing.ground import (
    Ground,
    HeldGroup,
    fleet_of,
    groups_of,
    held_groups,
    make_ground,
    sampled,
    state_of,
    useful_configs,
)
from services.planner.policies.annealing.shards import Shard, cut
from services.planner.policies.annealing.walk import score
from services.planner.policies.constructive import fill_by_value
from services.planner.policies.greedy import idle_models, with_spare_replicas
from services.planner.policies.nodes import spread_shortfall
from services.planner.policies.partition import uniform_partition
from services.planner.policies.published import plan_published, uniform_fleets
from services.planner.policies.search import Evaluation, Search
from services.planner.policies.spread import with_asked_nodes

# Where walks end, as shares of the budget, so that the last simulations are made within it.
_WALK_SHARE = 0.97
_PAIR_SHARES = (0.55, 0.7, 0.85, _WALK_SHARE)
_PAIR_HEAT = 0.1
# A longer workload is walked in samples of so many requests for the first share of the budget.
_SAMPLE_REQUESTS = 12_000
_LARGEST_SAMPLE = 0.5
_SAMPLED_SHARE = 0.6
_FEWEST_SIMULATIONS_PER_SHARD = 100
# The published search goes first, and is soon done where a problem is small. Of few simulations it
# has so many, because a walk gets nowhere with them: a small problem it may solve to the end.
_PUBLISHED_SHARE, _PUBLISHED_SHARE_IF_SMALL = 0.05, 0.2
_ALWAYS_PUBLISHED, _ALWAYS_PUBLISHED_IF_SMALL = 80, 400
_SMALL_SIZE = 1_000
_MOST_PUBLISHED_REQUESTS = 50_000_000
# Without limits: enough steps to settle every replica a few times, fewer for long workloads.
_STEPS_PER_MODEL_AND_DEVICE = 100
_MOST_STEPS = 12_000
_MOST_SIMULATED_REQUESTS = 100_000_000
_FEWEST_STEPS = 600


def plan_improved(search: Search) -> Evaluation:
    """The best state that any chain met; never worse than the best start, nor than the published
    search in its share of the budget: all of it, where it is tiny."""
    shards = cut(search.problem)
    left = search.num_simulations_left()
    if len(shards) > 1 and (left is None or left >= _FEWEST_SIMULATIONS_PER_SHARD * len(shards)):
        return finished(search, walked_in_shards(search, shards))
    starts = starts_and_published(search)
    ground = make_ground(search, planned_for(search))
    if not len(ground.configs):
        return starts[0]
    rivals = cooled_rivals(search, ground, starts)
    if not rivals[0].num_simulations:
        return starts[0]
    found = finished(search, groups_of(ground, rivals[0].best))
    return found if search.num_resamples else better(search, starts[0], found)


def starts_and_published(search: Search) -> list[Evaluation]:
    """What the published search finds in its share of the budget and the starting points, best first.

    Without limits it is left out of problems that would take it long.
    """
    found: list[Evaluation] = []
    if search.is_limited or num_published_requests(search.problem) <= _MOST_PUBLISHED_REQUESTS:
        with search.capped(published_share(search)):
            found.append(plan_published(search))
    if not found or search.may_simulate():
        found += starting_points(search)
    # Mended before they are compared: what a spread costs must not count against some of them only.
    found = [with_asked_nodes(search, own) if search.may_simulate() else own for own in found]
    return sorted(found, key=partial(served_score, search), reverse=True)


def published_share(search: Search) -> float:
    """The published search's share of the budget: all of it, where few simulations are allowed."""
    is_small = search.problem.num_models * search.problem.spec.cluster.num_devices < _SMALL_SIZE
    share = _PUBLISHED_SHARE_IF_SMALL if is_small else _PUBLISHED_SHARE
    most = search.num_simulations_left()
    if most is None:
        return share
    always = _ALWAYS_PUBLISHED_IF_SMALL if is_small else _ALWAYS_PUBLISHED
    return max(share, min(always / max(most, 1), 1.0))


def num_published_requests(problem: Problem) -> int:
    """About how many requests the published search simulates: a run for every replica it tries."""
    return problem.num_requests * problem.num_models * problem.spec.cluster.num_devices


def cooled_rivals(search: Search, ground: Ground, starts: Sequence[Evaluation]) -> Part:
    """Chains from the best starts at the end of their walk, best first. Long workloads are walked in
    samples first, and then whole, cooler."""
    rivals = [
        begin_chain(ground, state_of(ground, groups_held(search, starts[index % len(starts)])), search.seed + index)
        for index in range(search.num_chains)
    ]
    num_simulations = None if search.is_limited else default_steps(search.problem)
    share = _SAMPLE_REQUESTS / ground.num_requests
    if share > _LARGEST_SAMPLE:
        (part,) = cool(search, [rivals], _WALK_SHARE, num_simulations)
        return part
    sample = make_ground(search, [part for own in planned_for(search) for part in sampled(own, share)])
    quick = [begin_chain(sample, chain.current, search.seed + index) for index, chain in enumerate(rivals)]
    (part,) = cool(search, [quick], _SAMPLED_SHARE, num_simulations)
    slow = [begin_chain(ground, chain.best, search.seed + index) for index, chain in enumerate(part)]
    (part,) = cool(search, [slow], _WALK_SHARE, num_simulations, _PAIR_HEAT)
    return part


def warm_up(problem: Problem) -> None:
    """Compile the walk now, or read it from disk: its time is nobody's budget."""
    search = Search(problem)
    arrival_s, model, slo_s = problem.requests
    first = Requests(arrival_s[:1], model[:1], slo_s[:1])
    ground = make_ground(search, [first])
    run_leg(Leg(begin_chain(ground, state_of(ground, ()), 0), 0, 1.0, 1.0))


def planned_for(search: Search) -> list[Requests]:
    """The workload's requests, and those of others like it that the search is to plan for."""
    problem = search.problem
    alike = (resampled(problem.workload, search.seed + i) for i in range(search.num_resamples))
    return [problem.requests, *(pose(problem.spec, problem.profiles, workload).requests for workload in alike)]


def walked_in_shards(search: Search, shards: Sequence[Shard]) -> list[HeldGroup]:
    """Groups of the whole problem, found shard by shard, then by pairs of shards, cooler."""
    parts = []
    for index, shard in enumerate(shards):
        inner = search.within(shard.posed(search.problem))
        start = starting_points(inner)[0]
        search.note(0.0, inner.num_simulations)
        parts.append(_part(inner, groups_held(inner, start), search.seed + index))
    steps = None if search.is_limited else default_steps(search.problem)
    parts = cool(search, parts, _PAIR_SHARES[0], steps)
    for until in _PAIR_SHARES[1:]:
        shards, parts = _paired(search, shards, parts)
        parts = cool(search, parts, until, steps, _PAIR_HEAT)
    return _outside(shards, parts)


def _paired(search: Search, shards: Sequence[Shard], parts: Sequence[Part]) -> tuple[list[Shard], list[Part]]:
    """The shard that misses most joined with the one that misses least, and so on; neighbours where
    groups may need several nodes in a row."""
    order = sorted(range(len(shards)), key=lambda i: (parts[i][0].attained - parts[i][0].ground.num_requests, i))
    pairs = list(zip(order[: len(order) // 2], reversed(order), strict=False))
    if any(part[0].ground.terrain.most_span > 1 for part in parts):
        pairs = [(i, i + 1) for i in range(0, len(shards) - 1, 2)]
    alone = set(range(len(shards))) - {i for pair in pairs for i in pair}
    new_shards = [shards[i] for i in alone]
    new_parts = [list(parts[i]) for i in alone]
    for index, (i, j) in enumerate(pairs):
        joined = shards[i].joined(shards[j])
        groups = joined.inside(_outside([shards[i], shards[j]], [parts[i], parts[j]]))
        new_shards.append(joined)
        new_parts.append(_part(search.within(joined.posed(search.problem)), groups, search.seed + index))
    return new_shards, new_parts


def _part(search: Search, groups: Sequence[HeldGroup], seed: int) -> Part:
    ground = make_ground(search, planned_for(search))
    return [begin_chain(ground, state_of(ground, groups), seed)]


def _outside(shards: Sequence[Shard], parts: Sequence[Part]) -> list[HeldGroup]:
    """The best groups of every part, as groups of the whole problem."""
    best = ((shard, groups_of(part[0].ground, part[0].best)) for shard, part in zip(shards, parts, strict=True))
    return [group for shard, groups in best for group in shard.outside(groups)]


def starting_points(search: Search) -> list[Evaluation]:
    """Every uniform partition filled by value, best first; one at least."""
    cluster = search.problem.spec.cluster
    starts: list[Evaluation] = []
    # Large groups first: with little time they are the better guess.
    for config in sorted(useful_configs(search), key=lambda own: own.num_devices, reverse=True):
        if not starts or search.may_simulate(reserve=1):
            starts.append(fill_by_value(search, search.fleet(uniform_partition(cluster, config, search.is_useful))))
    if not starts:
        starts.append(fill_by_value(search, uniform_fleets(search)[0]))
    return sorted(starts, key=partial(served_score, search), reverse=True)


def groups_held(search: Search, state: Evaluation) -> list[HeldGroup]:
    return held_groups(search.problem.spec.cluster, state.fleet.partition, state.replicas)


def finished(search: Search, groups: Sequence[HeldGroup]) -> Evaluation:
    """The groups, simulated; memory that nobody needs here is filled at last."""
    problem = search.problem
    partition, replicas = fleet_of(problem.spec.cluster, problem.num_models, groups)
    fleet = search.fleet(partition)
    found = search.simulate(fleet, replicas)
    filled = with_spare_replicas(fleet, replicas, problem.workload.num_requests_of, idle_models(problem))
    if (filled != replicas).any() and search.may_simulate():
        found = better(search, found, search.simulate(fleet, filled))
    return found


def served_score(search: Search, state: Evaluation) -> float:
    """What the walk's `score_of` says of a state."""
    spec = search.problem.spec
    num_models, num_groups = len(state.replicas), state.fleet.num_groups
    placed, filled = int(state.replicas.any(axis=1).sum()), int(state.replicas.sum())
    lacks = int(spread_shortfall(spec, state.fleet.partition, state.replicas).sum())
    requests = state.num_attained, state.num_requests, state.mean_latency_s
    return score(*requests, placed, filled, num_models, num_groups, lacks)


def better(search: Search, first: Evaluation, second: Evaluation) -> Evaluation:
    """The one that attains more; the first of equals."""
    return second if served_score(search, second) > served_score(search, first) else first


def default_steps(problem: Problem) -> int:
    """Simulations of the walk where the caller sets no limit."""
    size = problem.num_models + problem.spec.cluster.num_devices
    affordable = _MOST_SIMULATED_REQUESTS // problem.num_requests
    return max(min(_STEPS_PER_MODEL_AND_DEVICE * size, _MOST_STEPS, affordable), _FEWEST_STEPS)
