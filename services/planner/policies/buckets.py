"""Buckets of models with similar latency, and splits of the devices over them.

A short request must not queue behind a long one (AlpaServe, section 4.2, algorithm 2).
"""

from collections.abc import Iterator, Sequence

from services.core.problem import Problem
from services.core.profile import ParallelConfig

_SIMILAR = 0.38
_THRESHOLDS = (1.0, 0.5, 0.3, 0.2, 0.1)
_MAX_SPLITS = 100
_MAX_ENUMERATED = 100_000


def latency_buckets(problem: Problem) -> tuple[tuple[int, ...], ...]:
    """Models by index, shortest first: each joins the first bucket whose first is within 38 %."""
    latency = [model_latency_s(problem, m) for m in range(problem.num_models)]
    buckets: list[list[int]] = []
    for m in sorted(range(problem.num_models), key=lambda m: (latency[m], m)):
        for bucket in buckets:
            if latency[m] <= latency[bucket[0]] * (1 + _SIMILAR):
                bucket.append(m)
                break
        else:
            buckets.append([m])
    return tuple(tuple(sorted(bucket)) for bucket in buckets)


def device_splits(problem: Problem, buckets: Sequence[Sequence[int]]) -> list[tuple[int, ...]]:
    """Devices per bucket, every bucket at least one: splits near each bucket's share of the work.

    The tolerance between device share and work share narrows until fewer than 100 splits are left.
    """
    num_devices = problem.spec.cluster.num_devices
    share = work_shares(problem, buckets)
    step = 1
    while _num_compositions(num_devices // step, len(buckets)) > _MAX_ENUMERATED:
        step *= 2
    splits = list(_compositions(num_devices, len(buckets), step))
    for threshold in _THRESHOLDS:
        near = [split for split in splits if _largest_gap(split, share) <= threshold]
        if not near:
            break
        splits = near
        if len(splits) < _MAX_SPLITS:
            break
    return sorted(splits, key=lambda split: _largest_gap(split, share))


def work_shares(problem: Problem, buckets: Sequence[Sequence[int]]) -> list[float]:
    """Each bucket's share of the device seconds that the requests ask for."""
    num_requests = problem.workload.num_requests_of
    work = [sum(int(num_requests[m]) * model_latency_s(problem, m) for m in bucket) for bucket in buckets]
    total = sum(work)
    return [part / total if total else 1 / len(buckets) for part in work]


def model_latency_s(problem: Problem, model: int) -> float:
    """On one device, as far as the profile knows; else the fastest config's."""
    profile = problem.profiles[problem.spec.models[model].profile]
    if profile.find(ParallelConfig(1, 1)) is not None or profile.reference_latency_s is not None:
        return profile.single_device_latency_s()
    return min((sum(stage.stage_latency_s) for stage in profile.stages if stage.batch_size == 1), default=0.0)


def _largest_gap(split: Sequence[int], share: Sequence[float]) -> float:
    total = sum(split)
    return max(abs(devices / total - part) for devices, part in zip(split, share, strict=True))


def _compositions(total: int, num_parts: int, step: int) -> Iterator[tuple[int, ...]]:
    """Ways to write `total` as positive multiples of `step`, the last part taking the remainder."""
    if num_parts == 1:
        yield (total,)
        return
    for first in range(step, total - step * (num_parts - 1) + 1, step):
        for rest in _compositions(total - first, num_parts - 1, step):
            yield (first, *rest)


def _num_compositions(total: int, num_parts: int) -> float:
    count = 1.0
    for part in range(1, num_parts):
        count *= max(total - part, 0) / part
    return count
