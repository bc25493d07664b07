"""Re-placement a second time, from the documented definitions alone: request by request."""

import math
from typing import Any

from tests.core.oracle import Document, allowed, choose, finish, stage_costs

Seat = tuple[int, int, tuple[int, ...]]


def seat(group: Document) -> Seat:
    return group["inter_op"], group["intra_op"], tuple(group["devices"])


def simulate(
    spec: Document,
    profiles: Document,
    windows: list[Document],
    rows: list[tuple[float, str, float | None]],
    rule: str,
    load_bytes_per_s: float | None = None,
) -> list[tuple[Seat | None, float | None]]:
    """Per request its group, None without one, and its finish, None if rejected."""
    profile_of = {model["name"]: model["profile"] for model in spec["models"]}
    device_s: dict[int, float] = {}
    state: list[dict[str, Any]] = []
    fates: list[tuple[Seat | None, float | None]] = []
    ends: dict[Seat, list[float]] = {}
    current = -1
    for now_s, name, own_slo_s in rows:
        while current < 0 or (current + 1 < len(windows) and windows[current + 1]["begin_s"] <= now_s):
            current += 1
            speed = math.inf if load_bytes_per_s is None else load_bytes_per_s
            state = switched(profiles, profile_of, state, windows[current], device_s, speed, current == 0)
        costs = {
            g: stage_costs(profiles, profile_of[name], group["document"])
            for g, group in enumerate(state)
            if name in group["there_s"] and group["there_s"][name] <= now_s
        }
        if not costs:
            fates.append((None, None))
            continue
        all_ends = [ends.setdefault(seat(group["document"]), []) for group in state]
        g = choose(rule, now_s, [group["clocks"] for group in state], all_ends, costs)
        end_s, after = finish(now_s, state[g]["clocks"], costs[g])
        finish_s = end_s + profiles["request_overhead_s"]
        if finish_s - now_s <= allowed(spec, profiles, name, own_slo_s):
            state[g]["clocks"] = after
            all_ends[g].append(end_s)
            fates.append((seat(state[g]["document"]), finish_s))
        else:
            fates.append((seat(state[g]["document"]), None))
    return fates


def switched(
    profiles: Document,
    profile_of: dict[str, str],
    state: list[dict[str, Any]],
    window: Document,
    device_s: dict[int, float],
    speed: float,
    is_first: bool,
) -> list[dict[str, Any]]:
    """The groups of a window: clocks, and when each replica is there."""
    for group in state:
        document = group["document"]
        for k, clock in enumerate(group["clocks"]):
            for device in document["devices"][k * document["intra_op"] : (k + 1) * document["intra_op"]]:
                device_s[device] = clock
    before = {seat(group["document"]): group for group in state}
    return [
        first_group(document)
        if is_first
        else next_group(profiles, profile_of, before.get(seat(document)), document, device_s, window["begin_s"], speed)
        for document in window["groups"]
    ]


def first_group(document: Document) -> dict[str, Any]:
    there_s = dict.fromkeys(document["models"], -math.inf)
    return {"document": document, "clocks": [0.0] * document["inter_op"], "there_s": there_s}


def next_group(
    profiles: Document,
    profile_of: dict[str, str],
    before: dict[str, Any] | None,
    document: Document,
    device_s: dict[int, float],
    begin_s: float,
    speed: float,
) -> dict[str, Any]:
    held = {} if before is None else before["there_s"]
    there_s = {name: held[name] for name in document["models"] if name in held}
    clock = max([begin_s, *there_s.values()])
    for name in document["models"]:
        if name not in held:
            clock += heaviest(profiles, profile_of[name], document) / speed
            there_s[name] = clock
    if before is not None:
        return {"document": document, "clocks": before["clocks"], "there_s": there_s}
    width = document["intra_op"]
    clocks = [
        max(device_s.get(device, 0.0) for device in document["devices"][k * width : (k + 1) * width])
        for k in range(document["inter_op"])
    ]
    ready_s = min(there_s.values(), default=0.0)
    if ready_s > begin_s:
        clocks = [max(clock, ready_s) for clock in clocks]
    return {"document": document, "clocks": clocks, "there_s": there_s}


def heaviest(profiles: Document, profile: str, group: Document) -> int:
    return next(
        int(max(entry["stage_weight_bytes"]))
        for model in profiles["models"]
        if model["model"] == profile
        for entry in model["profiles"]
        if (entry["inter_op"], entry["intra_op"], entry["batch_size"]) == (group["inter_op"], group["intra_op"], 1)
    )
