"""One model, however it is cut and sharded."""

import json
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import NDArray

from services.core.errors import AlreadyExists, InvalidArgument, InvalidModel, NotPlaced
from services.core.model import ModelSource
from services.parallel.architectures import open_model
from services.parallel.known_devices import typical_costs
from services.parallel.model import Index, LayeredModel
from services.parallel.pipeline import JaxPipeline
from services.parallel.sharding import stage_mesh
from services.parallel.stage import load_stage

TinyInputs = dict[str, NDArray[np.int64]]


def infer(pipeline: JaxPipeline, name: str, inputs: TinyInputs) -> NDArray[np.float32]:
    activation = pipeline.prepare(name, inputs)
    for stage in range(pipeline.inter_op):
        activation = pipeline.run_stage(name, stage, activation)
    (outputs,) = pipeline.collect(name, activation)
    return np.asarray(outputs["last_hidden_state"])


def live_bytes() -> int:
    return sum(array.nbytes for array in jax.live_arrays())


@pytest.fixture
def expected(tiny_source: ModelSource, tiny_inputs: TinyInputs) -> NDArray[np.float32]:
    """The output on one device, without a pipeline or an executable."""
    model = open_model(tiny_source)
    activation: Any = model.prepare([tiny_inputs])
    for layer in range(model.num_layers):
        parameters = {
            name: jnp.asarray(model.read(layer, name, (slice(None),) * len(shape.shape)))
            for name, shape in model.layer_parameters(layer).items()
        }
        activation = model.apply_layer(layer, parameters, activation)
    return np.asarray(model.collect(jax.device_get(activation))[0]["last_hidden_state"])


@pytest.mark.parametrize(("inter_op", "intra_op"), [(1, 1), (2, 2)])
def test_executables_give_the_output_of_the_layers_in_turn(
    inter_op: int, intra_op: int, tiny_source: ModelSource, tiny_inputs: TinyInputs, expected: NDArray[np.float32]
) -> None:
    pipeline = JaxPipeline(inter_op=inter_op, intra_op=intra_op)
    pipeline.load("m", tiny_source)

    output = infer(pipeline, "m", tiny_inputs)

    assert output.shape == (5, 16)
    np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-5)


def test_tensors_that_devices_do_not_divide_are_replicated(
    tiny_config: dict[str, Any], tiny_inputs: TinyInputs
) -> None:
    odd = {**tiny_config, "vocab_size": 23, "num_attention_heads": 1, "intermediate_size": 31}
    source = ModelSource(config=json.dumps(odd), sequence_length=8)
    outputs = []

    for intra_op in (1, 2):
        pipeline = JaxPipeline(inter_op=1, intra_op=intra_op)
        pipeline.load("m", source)
        outputs.append(infer(pipeline, "m", tiny_inputs))

    np.testing.assert_allclose(outputs[1], outputs[0], rtol=1e-4, atol=1e-5)


class Recorded:
    """A model that notes what is read of it."""

    def __init__(self, model: LayeredModel) -> None:
        self.model = model
        self.reads: dict[tuple[int, str], list[int]] = defaultdict(list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def read(self, layer: int, name: str, index: Index) -> NDArray[Any]:
        part = self.model.read(layer, name, index)
        self.reads[layer, name].append(part.size)
        return part


def test_weights_are_read_shard_by_shard(tiny_source: ModelSource) -> None:
    recorded = Recorded(open_model(tiny_source))
    mesh, shapes = stage_mesh(jax.devices()[:4]), recorded.input_shapes(1)

    stage, _ = load_stage(cast(LayeredModel, recorded), range(recorded.num_layers), mesh, shapes, typical_costs("cpu"))

    linear = [(layer, name) for layer, name in recorded.reads if name in ("wq", "wk", "wv", "wo", "wi", "wu")]
    assert len(linear) == 18
    for layer, name in linear:
        whole = stage.parameters[layer][name].size
        assert recorded.reads[layer, name] == [whole // 4] * 4


def test_weight_bytes_are_those_of_the_heaviest_device(tiny_source: ModelSource) -> None:
    model = open_model(tiny_source)
    shapes = [shape for layer in range(model.num_layers) for shape in model.layer_parameters(layer).values()]
    total_bytes = sum(shape.size * shape.dtype.itemsize for shape in shapes)

    whole = JaxPipeline(inter_op=1, intra_op=1).load("m", tiny_source)
    cut = JaxPipeline(inter_op=2, intra_op=1).load("m", tiny_source)
    sharded = JaxPipeline(inter_op=1, intra_op=2).load("m", tiny_source)

    assert whole.stage_weight_bytes == (total_bytes,)
    assert sum(cut.stage_weight_bytes) == total_bytes
    assert total_bytes / 2 < sharded.stage_weight_bytes[0] < total_bytes * 0.6
    assert all(size > 0 for size in (*whole.stage_activation_bytes[1], *cut.stage_activation_bytes[1]))


def test_boundaries_may_be_given(
    tiny_source: ModelSource, tiny_inputs: TinyInputs, expected: NDArray[np.float32]
) -> None:
    pipeline = JaxPipeline(inter_op=2, intra_op=1)

    loaded = pipeline.load("m", tiny_source, boundaries=[0, 2, 7])

    assert loaded.boundaries == (0, 2, 7)
    np.testing.assert_allclose(infer(pipeline, "m", tiny_inputs), expected, rtol=1e-4, atol=1e-5)


def test_unloading_frees_the_weights_whoever_still_holds_them(tiny_source: ModelSource) -> None:
    pipeline = JaxPipeline(inter_op=2, intra_op=2)
    before_bytes = live_bytes()
    pipeline.load("m", tiny_source)
    held_bytes = live_bytes() - before_bytes
    holders = jax.live_arrays()

    pipeline.unload("m")
    pipeline.unload("m")

    assert held_bytes > 10_000
    assert live_bytes() == before_bytes
    assert any(array.is_deleted() for array in holders)
    with pytest.raises(NotPlaced, match="'m'"):
        pipeline.run_stage("m", 0, {})


def test_a_failed_load_leaves_nothing_behind(tiny_source: ModelSource) -> None:
    pipeline = JaxPipeline(inter_op=2, intra_op=1)
    before_bytes = live_bytes()

    with pytest.raises(InvalidArgument, match="boundaries"):
        pipeline.load("m", tiny_source, boundaries=[0, 5])

    assert live_bytes() == before_bytes
    pipeline.load("m", tiny_source)


def test_loading_again_changes_nothing_and_another_source_is_refused(tiny_source: ModelSource) -> None:
    pipeline = JaxPipeline(inter_op=1, intra_op=1)
    loaded = pipeline.load("m", tiny_source)

    assert pipeline.load("m", tiny_source) == loaded
    with pytest.raises(AlreadyExists, match="'m'"):
        pipeline.load("m", ModelSource(config=tiny_source.config, seed=8, sequence_length=8))
    with pytest.raises(AlreadyExists, match="another cut"):
        pipeline.load("m", tiny_source, boundaries=[0, 3])


def test_a_thread_per_stage_serves_several_models_at_once(tiny_source: ModelSource, tiny_inputs: TinyInputs) -> None:
    pipeline = JaxPipeline(inter_op=2, intra_op=2)
    names = ("a", "b")
    for seed, name in enumerate(names):
        pipeline.load(name, ModelSource(config=tiny_source.config, seed=seed, sequence_length=8))
    alone = {name: infer(pipeline, name, tiny_inputs) for name in names}

    with ThreadPoolExecutor(1) as first, ThreadPoolExecutor(1) as second:
        halfway = [
            (name, first.submit(pipeline.run_stage, name, 0, pipeline.prepare(name, tiny_inputs)))
            for name in names * 20
        ]
        done = [(name, second.submit(pipeline.run_stage, name, 1, half.result())) for name, half in halfway]
        outputs = [(name, pipeline.collect(name, last.result())[0]["last_hidden_state"]) for name, last in done]

    assert not np.allclose(alone["a"], alone["b"])
    for name, output in outputs:
        np.testing.assert_array_equal(output, alone[name])


def test_more_stages_than_layers_are_refused(tiny_config: dict[str, Any]) -> None:
    shallow = ModelSource(config=json.dumps({**tiny_config, "num_hidden_layers": 1}), sequence_length=8)

    with pytest.raises(InvalidModel, match="layers cannot be cut into 4 stages"):
        JaxPipeline(inter_op=4, intra_op=1).load("m", shallow)


def test_a_batch_size_may_be_added_to_a_loaded_model(tiny_source: ModelSource, tiny_inputs: TinyInputs) -> None:
    pipeline = JaxPipeline(inter_op=2, intra_op=2)
    pipeline.load("m", tiny_source)
    alone = infer(pipeline, "m", tiny_inputs)
    before_bytes = live_bytes()

    loaded = pipeline.load("m", tiny_source, batch_sizes=(1, 2))
    activation = pipeline.join([pipeline.prepare("m", tiny_inputs)] * 2)
    for stage in range(2):
        activation = pipeline.run_stage("m", stage, activation)
    together = pipeline.collect("m", activation)

    assert sorted(loaded.stage_activation_bytes) == [1, 2]
    assert live_bytes() - before_bytes < before_bytes / 10
    for outputs in together:
        np.testing.assert_allclose(outputs["last_hidden_state"], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("inter_op", "intra_op"), [(3, 2), (0, 1), (1, 0)])
def test_devices_that_are_not_there_are_refused(inter_op: int, intra_op: int) -> None:
    with pytest.raises(InvalidArgument, match=f"{inter_op}x{intra_op} devices wanted, 4 present"):
        JaxPipeline(inter_op=inter_op, intra_op=intra_op)


def test_compiled_programs_are_kept_in_the_cache_directory(cache_dir: Path, tiny_source: ModelSource) -> None:
    JaxPipeline(inter_op=1, intra_op=1, cache_dir=str(cache_dir)).load("m", tiny_source)

    assert any(path.name.startswith("jit_stage") for path in cache_dir.iterdir())


def test_a_batch_gives_the_same_outputs_as_its_requests_one_by_one(
    tiny_source: ModelSource, tiny_inputs: TinyInputs
) -> None:
    pipeline = JaxPipeline(inter_op=2, intra_op=1)
    loaded = pipeline.load("m", tiny_source, batch_sizes=(1, 2))
    batch = [tiny_inputs, {"input_ids": pipeline.example("m")["input_ids"][:3]}]

    activation = pipeline.join([pipeline.prepare("m", inputs) for inputs in batch])
    for stage in range(2):
        activation = pipeline.run_stage("m", stage, activation)
    together = pipeline.collect("m", activation)

    for outputs, inputs in zip(together, batch, strict=True):
        np.testing.assert_allclose(outputs["last_hidden_state"], infer(pipeline, "m", inputs), rtol=1e-4, atol=1e-5)
    assert all(two > one for one, two in zip(*(loaded.stage_activation_bytes[size] for size in (1, 2)), strict=True))
