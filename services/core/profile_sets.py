"""Sets of profiles: one model taken out of a set, and sets of one model put together."""

from collections.abc import Sequence
from dataclasses import replace

from services.core.errors import InvalidProfile
from services.core.profile import Profiles


def only(profiles: Profiles, name: str) -> Profiles:
    """The same set with one model left, and what was its own now the set's."""
    model = profiles[name]
    return replace(
        profiles,
        models={name: replace(model, request_overhead_s=None, costs=None)},
        device=replace(profiles.device, costs=profiles.costs_of(name)),
        request_overhead_s=profiles.overhead_s(name),
    )


def combined(parts: Sequence[Profiles]) -> Profiles:
    """All models of these sets on the first set's device, each with the overhead and the costs of its own set, under
    the largest of the overheads.

    Raises: InvalidProfile if their stage latency factors differ.
    """
    owners = {name: part for part in parts for name in part}
    factors = {part.stage_latency_factor_per_stage for part in parts}
    if len(factors) > 1:
        raise InvalidProfile(f"profiles {', '.join(sorted(owners))} have different stage_latency_factor_per_stage")
    overheads_s = {name: part.overhead_s(name) for name, part in owners.items()}
    costs = {name: part.costs_of(name) for name, part in owners.items()}
    has_one_overhead, has_one_cost = len(set(overheads_s.values())) == 1, len(set(costs.values())) == 1
    models = {
        name: replace(
            part[name],
            request_overhead_s=None if has_one_overhead else overheads_s[name],
            costs=None if has_one_cost else costs[name],
        )
        for name, part in owners.items()
    }
    return Profiles(
        models=models,
        device=replace(parts[0].device, costs=costs.popitem()[1] if has_one_cost else None),
        request_overhead_s=max(overheads_s.values()),
        stage_latency_factor_per_stage=factors.pop(),
        note="; ".join(dict.fromkeys(part.note for part in parts if part.note)),
    )
