"""Estimates follow from the model's shapes alone, and what no device can hold is refused with the figures."""

import pytest

from services.core.errors import DoesNotFit, InvalidArgument
from services.core.model import ModelSource
from services.core.profile import ParallelConfig
from services.parallel.known_devices import known_device
from services.profiler.estimator import Estimator, check_memory

V100 = known_device("v100")
BERT = ModelSource(config="bert-1.3b", sequence_length=2048, dtype="float16")


@pytest.fixture(scope="module")
def bert() -> Estimator:
    assert V100.costs is not None
    return Estimator(BERT, V100.costs, V100.memory_bytes)


def test_a_model_of_gigabytes_is_estimated_near_its_published_latency(bert: Estimator) -> None:
    alone = bert.estimate(ParallelConfig(1, 1), 1)

    assert alone.latency_s == pytest.approx(0.1515, rel=0.1)
    assert alone.stage_weight_bytes[0] == pytest.approx(2.64 * 2**30, rel=0.05)
    assert (alone.source, alone.boundaries[0]) == ("estimated", 0)


def test_a_batch_takes_longer_and_holds_more_under_the_same_cut(bert: Estimator) -> None:
    single, several = (bert.estimate(ParallelConfig(2, 1), size) for size in (1, 4))

    assert several.boundaries == single.boundaries
    assert several.stage_weight_bytes == single.stage_weight_bytes
    assert 2 < several.latency_s / single.latency_s < 5
    assert several.stage_activation_bytes == tuple(4 * num_bytes for num_bytes in single.stage_activation_bytes)


def test_a_given_cut_is_kept(bert: Estimator) -> None:
    _, num_layers = bert.cut(ParallelConfig(1, 1))

    assert bert.estimate(ParallelConfig(2, 1), 1, (0, 3, num_layers)).boundaries == (0, 3, num_layers)


def test_weights_have_what_the_activations_leave() -> None:
    assert V100.costs is not None
    small = Estimator(BERT, V100.costs, 3 * 10**9)

    with pytest.raises(DoesNotFit, match=r"1 stages need .*, beside .* of activations"):
        small.estimate(ParallelConfig(1, 1), 1)
    with pytest.raises(DoesNotFit, match=r"bytes of weights and .* of activations on a device, 3,000,000,000 are"):
        small.estimate(ParallelConfig(2, 1), 16)
    assert max(small.estimate(ParallelConfig(2, 1), 1).stage_weight_bytes) < 3 * 10**9


def test_more_stages_than_layers_are_refused(bert: Estimator) -> None:
    with pytest.raises(InvalidArgument, match="layers cannot be cut into 1000 stages"):
        bert.estimate(ParallelConfig(1000, 1), 1)


def test_memory_is_that_of_the_fullest_device() -> None:
    check_memory((10, 20), (5, 5), 25)
    with pytest.raises(DoesNotFit, match="stage 1 needs 20 bytes of weights and 5 of activations"):
        check_memory((10, 20), (5, 5), 24)
