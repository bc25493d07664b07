"""What model parallelism costs beyond the work itself, split as AlpaServe's section 2.2 splits it.

D is the latency on a single device, latency(s, n) the sum of the stages of s x n at the same batch size:
  intra-op communication  latency(1, n) - D / n            also what an operator loses by being small
  inter-op communication  latency(s, n) - latency(1, n)
  inter-op imbalance      s · slowest stage - latency(s, n)
So s · slowest stage = D / n + the three. They can be negative: noise, or caches that a stage fits and a model does not.
"""

from dataclasses import dataclass

from services.core.profile import ModelProfile, ParallelConfig, StageProfile

ALONE = ParallelConfig(1, 1)


@dataclass(frozen=True, slots=True)
class Overheads:
    """Of one config and batch size, in seconds; None where the profile lacks what it is measured against: 1 x 1 for
    the first two, 1 x n for what separates them. `share` is that of s · slowest stage which is overhead."""

    config: ParallelConfig
    batch_size: int
    intra_op_communication_s: float | None
    inter_op_communication_s: float | None
    inter_op_imbalance_s: float
    share: float | None


def overheads(profile: ModelProfile) -> tuple[Overheads, ...]:
    """One for every entry of the profile, in its order."""
    return tuple(_overheads(profile, stage) for stage in profile.stages)


def _overheads(profile: ModelProfile, stage: StageProfile) -> Overheads:
    config = stage.config
    alone_s = _latency_s(profile, ALONE, stage.batch_size)
    sharded_s = _latency_s(profile, ParallelConfig(1, config.intra_op), stage.batch_size)
    occupied_s = config.inter_op * max(stage.stage_latency_s)
    ideal_s = None if alone_s is None else alone_s / config.intra_op
    return Overheads(
        config=config,
        batch_size=stage.batch_size,
        intra_op_communication_s=None if sharded_s is None or ideal_s is None else sharded_s - ideal_s,
        inter_op_communication_s=None if sharded_s is None else stage.latency_s - sharded_s,
        inter_op_imbalance_s=occupied_s - stage.latency_s,
        share=None if ideal_s is None or not occupied_s else 1 - ideal_s / occupied_s,
    )


def _latency_s(profile: ModelProfile, config: ParallelConfig, batch_size: int) -> float | None:
    """The sum of the stages; of 1 x 1 at batch size 1 the reference where there is no entry."""
    found = profile.find(config, batch_size)
    if found is not None:
        return found.latency_s
    return profile.reference_latency_s if (config, batch_size) == (ALONE, 1) else None
