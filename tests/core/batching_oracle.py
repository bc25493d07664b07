"""Batching a second time, from the documented definitions alone: slow, obvious, independent.

Lists of waiting requests, rescanned at every step; takes the documents as they are in files.
"""

import math
from dataclasses import dataclass, field
from typing import Any

from tests.core.oracle import allowed, finish

Document = dict[str, Any]
Fate = tuple[int, float | None]
Rows = list[tuple[float, str, float | None]]


@dataclass
class Group:
    """A group's clocks, its queue of request indices in order of admission, and its clocks as planned."""

    document: Document
    clocks: list[float]
    planned: list[float]
    queue: list[int] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)
    looks_at_s: float = math.inf


@dataclass
class World:
    """The documents, and what has become of the requests."""

    spec: Document
    profiles: Document
    rows: Rows
    max_size: int
    groups: list[Group]
    fates: list[Fate]
    overhead_s: float

    def sizes(self, name: str, group: Group) -> dict[int, list[float]]:
        """Stage latencies by batch size, as far as the profile has them."""
        profile = next(model["profile"] for model in self.spec["models"] if model["name"] == name)
        entries = next(model["profiles"] for model in self.profiles["models"] if model["model"] == profile)
        config = (group.document["inter_op"], group.document["intra_op"])
        factor = 1 + self.profiles["stage_latency_factor_per_stage"] * config[0]
        return {
            entry["batch_size"]: [latency * factor for latency in entry["stage_latency_s"]]
            for entry in sorted(entries, key=lambda entry: int(entry["batch_size"]))
            if (entry["inter_op"], entry["intra_op"]) == config and entry["batch_size"] <= self.max_size
        }

    def keeps_slo(self, request: int, finish_s: float) -> bool:
        arrival_s, name, own_slo_s = self.rows[request]
        return finish_s - arrival_s <= allowed(self.spec, self.profiles, name, own_slo_s)

    def hosts(self, name: str) -> list[int]:
        return [g for g, group in enumerate(self.groups) if name in group.document["models"]]


def build(spec: Document, profiles: Document, placement: Document, rows: Rows, max_size: int) -> World:
    groups = [
        Group(document, [0.0] * document["inter_op"], [0.0] * document["inter_op"]) for document in placement["groups"]
    ]
    return World(spec, profiles, rows, max_size, groups, [(-1, None)] * len(rows), profiles["request_overhead_s"])


def published(spec: Document, profiles: Document, placement: Document, rows: Rows, max_size: int) -> list[Fate]:
    """Per request its group, -1 without one, and its finish, None if it was dropped."""
    world = build(spec, profiles, placement, rows, max_size)
    waiting: list[int] = []
    for request, (now_s, name, _) in [*enumerate(rows), (-1, (math.inf, "", None))]:
        while (g := next_to_look(world, now_s)) is not None:
            look_published(world, waiting, g)
        if request < 0 or not world.hosts(name):
            continue
        g = min(world.hosts(name), key=lambda g: world.groups[g].clocks[-1])
        if world.groups[g].looks_at_s < math.inf:
            waiting.append(request)
        else:
            execute_published(world, g, now_s, [request])
    return world.fates


def next_to_look(world: World, until_s: float) -> int | None:
    """The group whose first stage falls idle next, if that is by `until_s`."""
    due = [g for g, group in enumerate(world.groups) if group.looks_at_s < math.inf and group.looks_at_s <= until_s]
    return min(due, key=lambda g: world.groups[g].looks_at_s) if due else None


def look_published(world: World, waiting: list[int], g: int) -> None:
    group = world.groups[g]
    now_s, group.looks_at_s = group.looks_at_s, math.inf
    while group.looks_at_s == math.inf:
        mine = [request for request in waiting if world.rows[request][1] in group.document["models"]]
        if not mine:
            return
        line = [request for request in mine if world.rows[request][1] == world.rows[mine[0]][1]]
        for request in execute_published(world, g, now_s, line):
            waiting.remove(request)


def execute_published(world: World, g: int, now_s: float, line: list[int]) -> list[int]:
    """Serve the front of a line as one batch, or drop its head; returns who left the line."""
    group = world.groups[g]
    best = 0
    for size, costs in world.sizes(world.rows[line[0]][1], group).items():
        if size not in (1, 2, 4, 8, 16):
            continue
        in_time = world.keeps_slo(line[0], finish(now_s, group.clocks, costs)[0] + world.overhead_s)
        if size > len(line) or not in_time:
            break
        best = size
    if best == 0:
        world.fates[line[0]] = (g, None)
        return line[:1]
    end_s, group.clocks = finish(
        now_s + world.overhead_s, group.clocks, world.sizes(world.rows[line[0]][1], group)[best]
    )
    group.looks_at_s = group.clocks[0]
    for request in line[:best]:
        world.fates[request] = (g, end_s)
    return line[:best]


def ours(spec: Document, profiles: Document, placement: Document, rows: Rows, rule: str, max_size: int) -> list[Fate]:
    """Per request its group, -1 without one, and its finish, None if it was rejected or dropped."""
    world = build(spec, profiles, placement, rows, max_size)
    for request, (now_s, name, _) in [*enumerate(rows), (-1, (math.inf, "", None))]:
        while (g := next_to_look(world, now_s)) is not None:
            look(world, g)
        if request < 0 or not world.hosts(name):
            continue
        g = choose(world, rule, now_s, name)
        group = world.groups[g]
        world.fates[request] = (g, None)
        after = join(world, group, now_s, name)
        if not world.keeps_slo(request, after[-1] + world.overhead_s):
            continue
        group.planned = after
        group.queue.append(request)
        group.looks_at_s = max(now_s, group.clocks[0])
        if group.looks_at_s == now_s:
            look(world, g)
    return world.fates


def choose(world: World, rule: str, now_s: float, name: str) -> int:
    groups, hosts = world.groups, world.hosts(name)
    if rule == "earliest-free":
        return min(hosts, key=lambda g: groups[g].planned[-1])
    if rule == "shortest-queue":
        return min(hosts, key=lambda g: len(groups[g].queue) + sum(end > now_s for end in groups[g].ends))
    return min(hosts, key=lambda g: finish(now_s, groups[g].planned, world.sizes(name, groups[g])[1])[0])


def cut(sizes: dict[int, list[float]], num_waiting: int) -> list[int]:
    """So many requests in the largest batches, the last one at the end."""
    batches = []
    while num_waiting:
        batches.append(max(size for size in sizes if size <= num_waiting))
        num_waiting -= batches[-1]
    return batches


def drained(sizes: dict[int, list[float]], num_waiting: int, stage: int) -> float:
    """How long so many requests keep a stage busy, the smallest batches added first."""
    total = 0.0
    for size in reversed(cut(sizes, num_waiting)):
        total = sizes[size][stage] + total
    return total


def repeated(world: World, sizes: dict[int, list[float]], num_waiting: int, stage: int) -> float:
    """The same beyond the largest size of any profile: whole rounds and a rest."""
    most = largest_size(world)
    rounds, rest = divmod(num_waiting, most)
    return rounds * drained(sizes, most, stage) + drained(sizes, rest, stage)


def largest_size(world: World) -> int:
    used = {model["profile"] for model in world.spec["models"]}
    entries = [entry for model in world.profiles["models"] if model["model"] in used for entry in model["profiles"]]
    return max(int(entry["batch_size"]) for entry in entries if entry["batch_size"] <= world.max_size)


def join(world: World, group: Group, now_s: float, name: str) -> list[float]:
    """The planned clocks if one more request of a model joins the queue."""
    sizes = world.sizes(name, group)
    part = len([request for request in group.queue if world.rows[request][1] == name]) % largest_size(world)
    last = sizes[cut(sizes, part + 1)[-1]]
    after = []
    ready = now_s
    for k, clock in enumerate(group.planned):
        longer_s = drained(sizes, part + 1, k) - drained(sizes, part, k)
        ready = max(ready + last[k], clock + longer_s)
        after.append(ready)
    return after


def look(world: World, g: int) -> None:
    """Begin the next batch of a group whose first stage is idle."""
    group = world.groups[g]
    now_s, group.looks_at_s = group.looks_at_s, math.inf
    while group.queue and group.looks_at_s == math.inf:
        name = world.rows[group.queue[0]][1]
        line = [request for request in group.queue if world.rows[request][1] == name]
        others = [request for request in group.queue if world.rows[request][1] != name]
        sizes = world.sizes(name, group)
        size = batch(world, group, now_s, line, others)
        left = max(size, 1)
        taken_s = [
            repeated(world, sizes, len(line), k) - repeated(world, sizes, len(line) - left, k)
            for k in range(len(group.clocks))
        ]
        as_planned = size == max(found for found in sizes if found <= len(line))
        if not as_planned:
            group.planned = [clock - taken for clock, taken in zip(group.planned, taken_s, strict=True)]
        group.queue = [request for request in group.queue if request not in line[:left]]
        if size:
            end_s, group.clocks = finish(now_s, group.clocks, sizes[size])
            group.looks_at_s = group.clocks[0]
            group.ends += [end_s] * size
            for request in line[:size]:
                world.fates[request] = (g, end_s + world.overhead_s)
        if size and not as_planned:
            longer = [clock + cost for clock, cost in zip(group.planned, sizes[size], strict=True)]
            group.planned = [max(pair) for pair in zip(longer, group.clocks, strict=True)]
    if not group.queue:
        group.planned = list(group.clocks)
        group.looks_at_s = math.inf


def batch(world: World, group: Group, now_s: float, line: list[int], others: list[int]) -> int:
    """How many of a line to serve together; 0 if its head is too late."""
    best = 0
    other_was_in_time = False
    for size, costs in world.sizes(world.rows[line[0]][1], group).items():
        if size > len(line):
            break
        end_s, after = finish(now_s, group.clocks, costs)
        if not all(world.keeps_slo(request, end_s + world.overhead_s) for request in line[:size]):
            break
        if others and len(line) > 1:
            alone = world.sizes(world.rows[others[0]][1], group)[1]
            in_time = world.keeps_slo(others[0], finish(now_s, after, alone)[0] + world.overhead_s)
            if other_was_in_time and not in_time:
                break
            other_was_in_time = in_time
        best = size
    return best
