"""A second simulator, written from the documented definitions alone: slow, obvious, independent.

It takes the documents as they are in files and shares no code with the one it checks.
"""

import math
from typing import Any

Document = dict[str, Any]


def stage_costs(profiles: Document, profile: str, group: Document) -> list[float]:
    """Stage latencies of a profile on a group at batch size 1, overhead factor included."""
    entry = next(
        entry
        for model in profiles["models"]
        if model["model"] == profile
        for entry in model["profiles"]
        if (entry["inter_op"], entry["intra_op"], entry["batch_size"]) == (group["inter_op"], group["intra_op"], 1)
    )
    factor = 1 + profiles["stage_latency_factor_per_stage"] * group["inter_op"]
    return [latency * factor for latency in entry["stage_latency_s"]]


def allowed(spec: Document, profiles: Document, name: str, own_slo_s: float | None) -> float:
    """The SLO of a request: its own, the model's, the model's scale, none."""
    model = next(model for model in spec["models"] if model["name"] == name)
    if own_slo_s is not None:
        return own_slo_s
    if "slo_s" in model:
        return float(model["slo_s"])
    if "slo_scale" not in model:
        return math.inf
    profile = next(profile for profile in profiles["models"] if profile["model"] == model["profile"])
    for entry in profile["profiles"]:
        if (entry["inter_op"], entry["intra_op"], entry["batch_size"]) == (1, 1, 1):
            return float(model["slo_scale"] * sum(entry["stage_latency_s"]))
    return float(model["slo_scale"] * profile["reference_latency_s"])


def finish(now_s: float, clocks: list[float], costs: list[float]) -> tuple[float, list[float]]:
    """When a request would leave the last stage, and the clocks it would leave behind."""
    after = []
    ready = now_s
    for clock, cost in zip(clocks, costs, strict=True):
        ready = max(ready, clock) + cost
        after.append(ready)
    return ready, after


def choose(
    rule: str,
    now_s: float,
    clocks: list[list[float]],
    ends: list[list[float]],
    costs: dict[int, list[float]],
) -> int:
    """The group a request is dispatched to, of those with `costs`; the first of equals."""
    hosts = sorted(costs)
    if rule == "earliest-free":
        return min(hosts, key=lambda g: clocks[g][-1])
    if rule == "shortest-queue":
        return min(hosts, key=lambda g: sum(end > now_s for end in ends[g]))
    return min(hosts, key=lambda g: finish(now_s, clocks[g], costs[g])[0])


def simulate(
    spec: Document, profiles: Document, placement: Document, rows: list[tuple[float, str, float | None]], rule: str
) -> list[tuple[int, float | None]]:
    """Per request its group, -1 without one, and its finish, None if rejected."""
    groups = placement["groups"]
    clocks = [[0.0] * group["inter_op"] for group in groups]
    ends: list[list[float]] = [[] for _ in groups]
    profile_of = {model["name"]: model["profile"] for model in spec["models"]}
    fates: list[tuple[int, float | None]] = []
    for now_s, name, own_slo_s in rows:
        hosts = [g for g, group in enumerate(groups) if name in group["models"]]
        if not hosts:
            fates.append((-1, None))
            continue
        costs = {g: stage_costs(profiles, profile_of[name], groups[g]) for g in hosts}
        chosen = choose(rule, now_s, clocks, ends, costs)
        end_s, after = finish(now_s, clocks[chosen], costs[chosen])
        finish_s = end_s + profiles["request_overhead_s"]
        if finish_s - now_s <= allowed(spec, profiles, name, own_slo_s):
            clocks[chosen] = after
            ends[chosen].append(end_s)
            fates.append((chosen, finish_s))
        else:
            fates.append((chosen, None))
    return fates
