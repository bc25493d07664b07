"""The highest rate at which the running system attains a target: the load is sent again and again at other rates,
until the highest that attains it is bracketed.

A probe whose confidence interval includes the target is repeated with other arrivals of the same kind, and decided by
all of them together; one that can no longer attain it is ended.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from alpaserve_cli.replay.load import Load
from alpaserve_cli.replay.options import Progress
from alpaserve_cli.replay.outcomes import ReplayResult
from alpaserve_cli.replay.prediction import Prediction
from alpaserve_cli.replay.running import Runner, StopSending
from alpaserve_cli.replay.sender import OnProgress
from services.core.confidence import attainment_interval, wilson
from services.core.errors import InvalidArgument, InvalidWorkload
from services.core.rate_search import RateSearch
from services.core.workload import Workload

# Requests of a burst miss together: until batches tell, so many count as one.
_CAUTION = 4


@dataclass(frozen=True, slots=True)
class Question:
    """`target` is a share of requests; `warm_up` says how many of a workload's first ones warm up.

    The bracket's ends differ by `tolerance` at the end; the system rests `settle_s` after each probe, which is sent
    `num_repeats` times at most. Raises: InvalidArgument.
    """

    target: float
    tolerance: float
    settle_s: float
    num_repeats: int
    warm_up: Callable[[Workload], int]

    def __post_init__(self) -> None:
        if not 0 < self.target <= 1:
            raise InvalidArgument(f"--find-rate must be above 0 and at most 1, got {self.target!r}")
        if not 0 < self.tolerance <= 1:
            raise InvalidArgument(f"--tolerance must be above 0 and at most 1, got {self.tolerance!r}")
        if not (math.isfinite(self.settle_s) and self.settle_s >= 0):
            raise InvalidArgument(f"--settle must not be negative, got {self.settle_s!r}")
        if self.num_repeats < 1:
            raise InvalidArgument(f"--repeats must be at least 1, got {self.num_repeats}")


@dataclass(frozen=True, slots=True)
class Probe:
    """What became of a rate. `low` and `high` are the 95 % interval of `attainment`; where `is_certain`, the target
    lies outside it. `predicted` is the simulator's attainment of the first of `num_replays`."""

    scale: float
    rate_per_s: float
    num_requests: int
    num_replays: int
    attainment: float
    low: float
    high: float
    attains: bool
    is_certain: bool
    is_generator_late: bool
    predicted: float | None


@dataclass(frozen=True, slots=True)
class RateFound:
    """The probe of the highest rate that attained the target, None if none did. `is_open_ended` if no higher one
    was tried that did not; `is_generator_limited` if one failed while the generator itself was late."""

    best: Probe | None
    is_open_ended: bool
    is_generator_limited: bool
    is_interrupted: bool
    probes: tuple[Probe, ...]


@dataclass(slots=True)
class RateFinder:
    """A search under way."""

    load: Load
    runner: Runner
    question: Question
    prediction: Prediction | None
    on_probe: Callable[[Probe], None]
    on_progress: OnProgress
    probes: list[Probe] = field(default_factory=list)

    def run(self) -> RateFound:
        """Raises: what a replay raises, InvalidWorkload if the load as it is has no request."""
        search = RateSearch(self.question.tolerance)
        while (scale := search.next) is not None:
            probe = self._probe(scale)
            if probe is None:
                break
            self.probes.append(probe)
            self.on_probe(probe)
            search.note(scale, probe.attains)
        best = max((probe for probe in self.probes if probe.attains), key=lambda probe: probe.scale, default=None)
        return RateFound(
            best=best,
            is_open_ended=best is not None and math.isinf(search.high),
            is_generator_limited=any(probe.is_generator_late and not probe.attains for probe in self.probes),
            is_interrupted=self.runner.is_interrupted,
            probes=tuple(self.probes),
        )

    def _probe(self, scale: float) -> Probe | None:
        """None if interrupted, or if a scale leaves no request."""
        results: list[ReplayResult] = []
        first: Workload | None = None
        while len(results) < self.question.num_repeats and not self._is_certain(results):
            try:
                workload = self.load.workload(scale, len(results))
            except InvalidWorkload:
                if not self.probes:
                    raise
                return None
            first = first or workload
            results.append(self._send(workload))
            if not self._settled() or not results[-1].counted.any():
                return None
        if first is None:
            raise AssertionError("a probe is sent at least once")
        return self._judged(scale, first, results)

    def _send(self, workload: Workload) -> ReplayResult:
        num_warm_up = self.question.warm_up(workload)
        num_counted, target = len(workload) - num_warm_up, self.question.target

        def watch(progress: Progress) -> None:
            self.on_progress(progress)
            num_missed = sum(progress.outcomes.values()) - progress.outcomes["served"]
            if wilson((num_counted - num_missed) / _CAUTION, num_counted / _CAUTION).high < target:
                raise StopSending

        return self.runner.run(workload, num_warm_up, watch)

    def _settled(self) -> bool:
        """Every answer is in; what the system learned from them may fade."""
        try:
            if not self.runner.is_interrupted:
                time.sleep(self.question.settle_s)
        except KeyboardInterrupt:
            self.runner.is_interrupted = True
        return not self.runner.is_interrupted

    def _is_certain(self, results: list[ReplayResult]) -> bool:
        if not results:
            return False
        interval = attainment_interval(attained_in(results))
        return _was_ended(results[-1]) or not interval.low < self.question.target <= interval.high

    def _judged(self, scale: float, workload: Workload, results: list[ReplayResult]) -> Probe:
        attained = attained_in(results)
        interval = attainment_interval(attained)
        attainment = float(attained.mean())
        return Probe(
            scale=scale,
            rate_per_s=rate_per_s(workload),
            num_requests=len(attained),
            num_replays=len(results),
            attainment=attainment,
            low=interval.low,
            high=interval.high,
            attains=attainment >= self.question.target and not _was_ended(results[-1]),
            is_certain=self._is_certain(results),
            is_generator_late=any(result.is_generator_late for result in results),
            predicted=self._predicted(workload),
        )

    def _predicted(self, workload: Workload) -> float | None:
        if self.prediction is None:
            return None
        slo_of = self.runner.options.slo_s
        return self.prediction.attainment(workload, slo_of, self.question.warm_up(workload))

    def predicted_rate(self) -> tuple[float, float] | None:
        """(scale, requests per second) where the simulator's own search ends; None if it finds none."""
        search = RateSearch(self.question.tolerance)
        rates = {}
        while (scale := search.next) is not None:
            try:
                workload = self.load.workload(scale)
            except InvalidWorkload:
                break
            rates[scale] = rate_per_s(workload)
            search.note(scale, (self._predicted(workload) or 0.0) >= self.question.target)
        return (search.low, rates[search.low]) if search.low else None


def attained_in(results: list[ReplayResult]) -> NDArray[np.bool_]:
    """Of the requests that count, one replay after the other."""
    return np.concatenate([result.attained[result.counted] for result in results])


def rate_per_s(workload: Workload) -> float:
    """Requests over the span of their arrivals, 0 without one."""
    return len(workload) / workload.span_s if workload.span_s > 0 else 0.0


def _was_ended(result: ReplayResult) -> bool:
    """Whether requests were left unsent, because enough had missed."""
    return not bool(result.sent.all())
