"""Any part of a tensor is what the whole has there, and costs no more than the part."""

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import save_file

from services.core.model import ModelSource
from services.parallel.architectures import open_model
from services.parallel.checkpoint import Checkpoint
from services.parallel.models.random_weights import RandomWeights
from services.parallel.models.tensors import LayerTensor, StoredTensor, read_part

DATA = Path(__file__).parents[2] / "data"
SOURCES = {
    "random bert": ModelSource(config="bert-tiny", sequence_length=16),
    "random gpt": ModelSource(config="gpt-tiny", sequence_length=16, dtype="bfloat16"),
    "random moe": ModelSource(config="moe-tiny", sequence_length=16),
    "random wide resnet": ModelSource(config="wide-resnet-tiny", dtype="float16"),
    "stored bert": ModelSource(checkpoint=str(DATA / "bert_masked_lm"), sequence_length=7),
    "stored gpt": ModelSource(checkpoint=str(DATA / "gpt2"), sequence_length=7, dtype="float16"),
}


def everything(num_axes: int) -> tuple[slice, ...]:
    return (slice(None),) * num_axes


@st.composite
def parts(draw: st.DrawFn, shape: tuple[int, ...]) -> tuple[slice, ...]:
    bounds = [sorted(draw(st.tuples(st.integers(0, size), st.integers(0, size)))) for size in shape]
    return tuple(slice(*pair) if draw(st.booleans()) else slice(None) for pair in bounds)


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES.keys())
@settings(max_examples=40, deadline=None, derandomize=True)
@given(data=st.data())
def test_a_part_is_what_the_whole_has_there(source: ModelSource, data: st.DataObject) -> None:
    model = open_model(source)
    layer = data.draw(st.integers(0, model.num_layers - 1))
    shapes = model.layer_parameters(layer)
    name = data.draw(st.sampled_from(sorted(shapes)))
    index = data.draw(parts(shapes[name].shape))

    part = model.read(layer, name, index)

    assert part.dtype == shapes[name].dtype
    np.testing.assert_array_equal(part, model.read(layer, name, everything(len(index)))[index])


@pytest.mark.parametrize("shape", [(1300,), (1100, 700), (3, 600, 520), (2, 2, 513, 40)])
@settings(max_examples=15, deadline=None, derandomize=True)
@given(data=st.data())
def test_a_part_that_crosses_tiles_is_what_the_whole_has_there(shape: tuple[int, ...], data: st.DataObject) -> None:
    stored = StoredTensor(("w",), shape, spread=1.0)
    index = tuple(slice(*part.indices(size)[:2]) for part, size in zip(data.draw(parts(shape)), shape, strict=True))
    whole = RandomWeights(1).read(stored, tuple(slice(0, size) for size in shape), np.float32)

    part = RandomWeights(1).read(stored, index, np.float32)

    np.testing.assert_array_equal(part, whole[index])


def test_random_values_have_the_mean_and_spread_that_are_asked_for_and_no_pattern() -> None:
    index = (slice(0, 1100), slice(0, 1500))

    values = RandomWeights(1).read(StoredTensor(("w",), (1100, 1500), mean=3.0, spread=0.5), index, np.float64)

    assert values.mean() == pytest.approx(3.0, abs=2e-3)
    assert values.std() == pytest.approx(0.5, abs=2e-3)
    tiles = [values[:512, :476], values[512:1024, :476], values[:512, 1024:], values[512:1024, 1024:]]
    correlations = np.corrcoef([tile.ravel() for tile in tiles])
    assert np.abs(correlations - np.eye(4)).max() < 0.01


@pytest.mark.parametrize(
    ("seed", "name"), [(1, "v"), (2, "w"), (2**64 - 1, "w")], ids=["other name", "other seed", "largest seed"]
)
def test_random_values_differ_by_seed_and_name(seed: int, name: str) -> None:
    index = (slice(0, 8), slice(0, 8))
    values = RandomWeights(1).read(StoredTensor(("w",), (8, 8), spread=1.0), index, np.float32)

    others = RandomWeights(seed).read(StoredTensor((name,), (8, 8), spread=1.0), index, np.float32)

    assert not np.isclose(values, others).any()


@pytest.mark.parametrize("source", [SOURCES["random bert"], SOURCES["random gpt"], SOURCES["random moe"]])
def test_random_norms_scale_by_1_and_biases_are_0(source: ModelSource) -> None:
    model = open_model(source)

    for layer in range(model.num_layers):
        for name in model.layer_parameters(layer):
            values = model.read(layer, name, everything(len(model.layer_parameters(layer)[name].shape)))
            if name.endswith("_scale"):
                np.testing.assert_array_equal(values, 1)
            elif name.endswith("_bias") or (name.split("_")[-1][0] == "b"):
                np.testing.assert_array_equal(values, 0)
            else:
                assert np.unique(values).size > values.size / 4


def peak_bytes(read: Any) -> tuple[int, NDArray[Any]]:
    tracemalloc.start()
    values = read()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak, values


LARGE = (2048, 1024)
PARTS = [(slice(64, 96), slice(None)), (slice(None), slice(512, 528)), (slice(None), slice(None))]


@pytest.mark.parametrize("index", PARTS, ids=["rows", "columns", "all"])
@pytest.mark.parametrize("is_transposed", [False, True], ids=["as stored", "transposed"])
def test_reading_a_part_of_a_stored_tensor_costs_the_memory_of_the_part(
    is_transposed: bool, index: tuple[slice, ...], tmp_path: Path
) -> None:
    save_file({"w": np.ones(LARGE, np.float32)}, tmp_path / "model.safetensors")
    held = LARGE[::-1] if is_transposed else LARGE
    tensors = {"w": LayerTensor(StoredTensor(("w",), LARGE), held, is_transposed=is_transposed)}
    checkpoint = Checkpoint(tmp_path)

    peak, values = peak_bytes(lambda: read_part(checkpoint, tensors, "w", index, np.float32))

    assert values.nbytes <= peak < 3 * values.nbytes + 2**16


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_drawing_a_part_of_a_random_tensor_costs_the_memory_of_the_part_and_of_a_few_tiles(dtype: str) -> None:
    stored = StoredTensor(("w",), (51200, 4096), spread=1.0)
    index = (slice(40000, 41000), slice(1000, 2000))

    peak, values = peak_bytes(lambda: RandomWeights(1).read(stored, index, dtype))

    assert values.nbytes <= peak < values.nbytes + 6 * 2**20
