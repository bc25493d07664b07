"""Where the time of one request went: its hops, which together are its latency."""

from collections.abc import Iterator
from dataclasses import dataclass

from alpaserve_client import InferResult

BAR_WIDTH = 40
# What begins or ends within a column has an eighth of a block less.
_EIGHTHS = " ▏▎▍▌▋▊▉█"


@dataclass(frozen=True, slots=True)
class Hop:
    """A part of the way, in (begin, end) seconds since the request was sent: one piece, or two there and back.
    `profiled_s` is what the profile says it takes, None where it says nothing."""

    name: str
    pieces: tuple[tuple[float, float], ...]
    profiled_s: float | None = None

    @property
    def seconds(self) -> float:
        return sum(end_s - begin_s for begin_s, end_s in self.pieces)


def hops_of(result: InferResult, latency_s: float) -> tuple[Hop, ...]:
    """The hops of a request that took so long at its client. No two clocks are compared: what a process did not see of
    the time that its caller measured is the way to it, half there and half back."""
    there_s = (latency_s - result.router_time_s) / 2
    at_group_s = there_s + (result.router_time_s - result.group_time_s) / 2
    left_group_s = at_group_s + result.group_time_s
    back_s = there_s + result.router_time_s
    return (
        Hop("client ↔ router", ((0.0, there_s), (back_s, latency_s))),
        Hop("router ↔ group", ((there_s, at_group_s), (left_group_s, back_s))),
        *_in_group(result, at_group_s),
    )


def _in_group(result: InferResult, arrival_s: float) -> Iterator[Hop]:
    at_s = arrival_s
    for stage, run in enumerate(result.stages):
        begin_s, end_s = arrival_s + run.begin_s, arrival_s + run.end_s
        yield Hop("queue" if stage == 0 else f"queue, stage {stage}", ((at_s, begin_s),))
        yield Hop(f"stage {stage}", ((begin_s, end_s),), run.profiled_s)
        at_s = end_s
    yield Hop("answer", ((at_s, arrival_s + result.group_time_s),))


def bar(hop: Hop, latency_s: float) -> str:
    """A line of blocks, as long as the latency."""
    line = [0.0] * BAR_WIDTH
    for begin_s, end_s in hop.pieces:
        begin, end = (BAR_WIDTH * instant_s / latency_s for instant_s in (begin_s, end_s))
        for column in range(BAR_WIDTH):
            line[column] += max(0.0, min(end, column + 1) - max(begin, column))
    return "".join(_EIGHTHS[min(8, round(8 * share))] for share in line)
