"""Overheads are what the stages take beyond an even share of the single device."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.core.overheads import overheads
from services.core.profile import ModelProfile, ParallelConfig, StageProfile


def stage(config: ParallelConfig, latency_s: tuple[float, ...], batch_size: int = 1) -> StageProfile:
    return StageProfile(config, batch_size, latency_s, (1,) * config.inter_op)


ALONE = stage(ParallelConfig(1, 1), (8.0,))
SHARDED = stage(ParallelConfig(1, 2), (5.0,))


@pytest.mark.parametrize(
    ("config", "latency_s", "intra_op_s", "inter_op_s", "imbalance_s", "share"),
    [
        (ParallelConfig(1, 1), (8.0,), 0.0, 0.0, 0.0, 0.0),
        (ParallelConfig(2, 1), (4.0, 4.0), 0.0, 0.0, 0.0, 0.0),
        (ParallelConfig(2, 1), (4.0, 6.0), 0.0, 2.0, 2.0, 1 - 8 / 12),
        (ParallelConfig(1, 2), (5.0,), 1.0, 0.0, 0.0, 1 - 4 / 5),
        (ParallelConfig(2, 2), (2.5, 3.0), 1.0, 0.5, 0.5, 1 - 4 / 6),
    ],
)
def test_the_three_parts_are_those_of_the_paper(
    config: ParallelConfig,
    latency_s: tuple[float, ...],
    intra_op_s: float,
    inter_op_s: float,
    imbalance_s: float,
    share: float,
) -> None:
    others = tuple(other for other in (ALONE, SHARDED) if other.config != config)

    found = overheads(ModelProfile("m", (*others, stage(config, latency_s))))[-1]

    assert (found.config, found.batch_size) == (config, 1)
    assert found.intra_op_communication_s == pytest.approx(intra_op_s)
    assert found.inter_op_communication_s == pytest.approx(inter_op_s)
    assert found.inter_op_imbalance_s == pytest.approx(imbalance_s)
    assert found.share == pytest.approx(share)


latencies = st.floats(1e-3, 1e3)


@given(latencies, st.sampled_from([1, 2, 4]), latencies, st.lists(latencies, min_size=1, max_size=8))
def test_the_slowest_stage_is_an_even_share_and_the_three_parts(
    alone_s: float, intra_op: int, sharded_s: float, stages_s: list[float]
) -> None:
    inter_op = len(stages_s)
    entries = {
        entry.config: entry
        for entry in (
            stage(ParallelConfig(inter_op, intra_op), tuple(stages_s)),
            stage(ParallelConfig(1, intra_op), (sharded_s,)),
            stage(ParallelConfig(1, 1), (alone_s,)),
        )
    }
    profile = ModelProfile("m", tuple(entries.values()))

    found = overheads(profile)[0]

    parts = (found.intra_op_communication_s, found.inter_op_communication_s, found.inter_op_imbalance_s)
    even_s = entries[ParallelConfig(1, 1)].latency_s / found.config.intra_op
    assert sum(part for part in parts if part is not None) + even_s == pytest.approx(
        found.config.inter_op * max(entries[found.config].stage_latency_s)
    )


def test_batch_sizes_are_compared_with_their_own_kind() -> None:
    profile = ModelProfile("m", (ALONE, stage(ParallelConfig(2, 1), (3.0, 3.0), batch_size=2)))

    found = overheads(profile)[1]

    assert (found.intra_op_communication_s, found.inter_op_communication_s, found.share) == (None, None, None)
    assert found.inter_op_imbalance_s == 0.0


def test_the_reference_stands_for_a_model_that_no_single_device_holds() -> None:
    profile = ModelProfile("m", (stage(ParallelConfig(2, 1), (3.0, 3.0)),), reference_latency_s=5.0)

    assert overheads(profile)[0].inter_op_communication_s == pytest.approx(1.0)
