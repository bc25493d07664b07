"""Model directories in the Hugging Face layout, whole and broken."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from services.core.errors import InvalidModel
from services.core.model import ModelSource
from services.parallel.architectures import open_model

Config = dict[str, Any]
Tensors = dict[str, NDArray[np.float32]]
WriteCheckpoint = Callable[[Config, Tensors], Path]

QUERY = "encoder.layer.1.attention.self.query.weight"
SENTENCE_MODULES = [
    {"path": "", "type": "sentence_transformers.models.Transformer"},
    {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    {"path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
]


def layer(source: ModelSource, number: int) -> dict[str, NDArray[Any]]:
    model = open_model(source)
    shapes = model.layer_parameters(number)
    return {name: model.read(number, name, (slice(None),) * len(shape.shape)) for name, shape in shapes.items()}


def first_block(directory: Path) -> dict[str, NDArray[Any]]:
    return layer(ModelSource(checkpoint=str(directory), sequence_length=8), 1)


def test_linear_maps_are_held_inputs_first(
    write_checkpoint: WriteCheckpoint, tiny_config: Config, tiny_tensors: Tensors
) -> None:
    directory = write_checkpoint(tiny_config, tiny_tensors)

    block = first_block(directory)

    np.testing.assert_array_equal(block["wi"], tiny_tensors["encoder.layer.0.intermediate.dense.weight"].T)
    np.testing.assert_array_equal(block["bi"], tiny_tensors["encoder.layer.0.intermediate.dense.bias"])


@pytest.mark.parametrize(
    "rename",
    [
        lambda name: f"bert.{name}",
        lambda name: name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"),
    ],
    ids=["prefixed", "old norm names"],
)
def test_other_names_of_the_same_tensors_are_known(
    rename: Callable[[str], str],
    write_checkpoint: WriteCheckpoint,
    tiny_config: Config,
    tiny_tensors: Tensors,
) -> None:
    expected = first_block(write_checkpoint(tiny_config, tiny_tensors))

    renamed = first_block(
        write_checkpoint(tiny_config, {rename(name): tensor for name, tensor in tiny_tensors.items()})
    )

    assert all(np.array_equal(renamed[key], expected[key]) for key in expected)


@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16])
def test_shorter_floats_are_read_as_the_dtype_of_the_source(
    dtype: Any, write_checkpoint: WriteCheckpoint, tiny_config: Config, tiny_tensors: Tensors
) -> None:
    directory = write_checkpoint(tiny_config, {name: tensor.astype(dtype) for name, tensor in tiny_tensors.items()})

    block = first_block(directory)

    assert {value.dtype for value in block.values()} == {np.dtype(np.float32)}
    np.testing.assert_allclose(block["wi"], tiny_tensors["encoder.layer.0.intermediate.dense.weight"].T, rtol=1e-2)


def test_weights_may_lie_in_several_files(
    write_checkpoint: WriteCheckpoint, tiny_config: Config, tiny_tensors: Tensors
) -> None:
    directory = write_checkpoint(tiny_config, tiny_tensors)
    expected = first_block(directory)
    (directory / "model.safetensors").unlink()
    for part in range(2):
        save_file(dict(list(tiny_tensors.items())[part::2]), directory / f"part-{part}.safetensors")
    weight_map = {name: f"part-{index % 2}.safetensors" for index, name in enumerate(tiny_tensors)}
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))

    block = first_block(directory)

    assert all(np.array_equal(block[key], expected[key]) for key in expected)


def test_positions_beyond_the_sequence_length_are_not_loaded(tiny_source: ModelSource) -> None:
    longer = ModelSource(config=tiny_source.config, seed=tiny_source.seed, sequence_length=12)

    short_table = layer(tiny_source, 0)["positions"]
    long_table = layer(longer, 0)["positions"]

    assert short_table.shape == (8, 16)
    np.testing.assert_array_equal(long_table[:8], short_table)


def test_a_missing_tensor_is_named(
    write_checkpoint: WriteCheckpoint, tiny_config: Config, tiny_tensors: Tensors
) -> None:
    del tiny_tensors[QUERY]
    source = ModelSource(checkpoint=str(write_checkpoint(tiny_config, tiny_tensors)), sequence_length=8)

    with pytest.raises(InvalidModel, match=f"no tensor '{QUERY}'"):
        layer(source, 2)


def test_a_tensor_of_another_shape_is_named(
    write_checkpoint: WriteCheckpoint, tiny_config: Config, tiny_tensors: Tensors
) -> None:
    tiny_tensors[QUERY] = np.zeros((16, 3), dtype=np.float32)
    source = ModelSource(checkpoint=str(write_checkpoint(tiny_config, tiny_tensors)), sequence_length=8)

    with pytest.raises(InvalidModel, match=rf"'{QUERY}' has shape \(16, 3\), config.json says \(16, 16\)"):
        layer(source, 2)


def test_weights_that_are_not_safetensors_are_refused(
    write_checkpoint: WriteCheckpoint, tiny_config: Config, tiny_tensors: Tensors
) -> None:
    directory = write_checkpoint(tiny_config, tiny_tensors)
    (directory / "model.safetensors").write_bytes(b"pickled")

    with pytest.raises(InvalidModel, match="cannot be read as safetensors"):
        open_model(ModelSource(checkpoint=str(directory), sequence_length=8))


@pytest.mark.parametrize("content", [None, "{", "[]"])
def test_an_unreadable_config_is_refused(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)

    with pytest.raises(InvalidModel, match=r"config\.json"):
        open_model(ModelSource(checkpoint=str(tmp_path)))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"tie_word_embeddings": False}, "tie_word_embeddings False"),
        ({"hidden_size": "16"}, "hidden_size must be a positive integer, got '16'"),
        ({"vocab_size": 0}, "vocab_size must be a positive integer, got 0"),
        ({"num_hidden_layers": None}, "num_hidden_layers must be a positive integer, got None"),
        ({"num_attention_heads": 3}, "hidden_size 16 is not a multiple of num_attention_heads 3"),
        ({"hidden_act": "swish"}, "'swish'"),
        ({"layer_norm_eps": -1.0}, "layer_norm_eps"),
        ({"position_embedding_type": "relative_key"}, "'relative_key'"),
        ({"is_decoder": True}, "is_decoder"),
        ({"max_position_embeddings": 7}, "sequence_length 8 exceeds max_position_embeddings 7"),
    ],
)
def test_an_unsupported_config_is_refused_by_name(change: Config, named: str, tiny_config: Config) -> None:
    source = ModelSource(config=json.dumps({**tiny_config, **change}), sequence_length=8)

    with pytest.raises(InvalidModel, match=named):
        open_model(source)


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ("", "without checkpoint and config"),
        ("{", "'{' is not JSON"),
        ("bert-1.3", "'bert-1.3' is not JSON .* none of bert-1.3b"),
        ("[]", "is not an object"),
        ("{}", "model_type None is not known"),
        ('{"model_type": ["bert"]}', r"model_type \['bert'\] is not known"),
        ('{"model_type": "t5"}', "model_type 't5' is not known, only bert, gpt2, moe, wide_resnet"),
    ],
)
def test_a_source_without_a_model_is_refused(config: str, named: str) -> None:
    with pytest.raises(InvalidModel, match=named):
        open_model(ModelSource(config=config))


@pytest.mark.parametrize(
    ("modules", "pooling", "named"),
    [
        (SENTENCE_MODULES, {"pooling_mode_max_tokens": True}, "pooling_mode_max_tokens"),
        (SENTENCE_MODULES, {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}, "pooling_mode_cls"),
        (SENTENCE_MODULES[:1], {}, "modules"),
        ([*SENTENCE_MODULES, {"path": "3_Dense", "type": "sentence_transformers.models.Dense"}], {}, "Dense"),
        ({"0": "Transformer"}, {}, "modules.json"),
    ],
)
def test_an_unsupported_pooling_is_refused_by_name(
    modules: Any,
    pooling: Config,
    named: str,
    write_checkpoint: WriteCheckpoint,
    tiny_config: Config,
    tiny_tensors: Tensors,
) -> None:
    directory = write_checkpoint(tiny_config, tiny_tensors)
    (directory / "modules.json").write_text(json.dumps(modules))
    (directory / "1_Pooling").mkdir()
    (directory / "1_Pooling" / "config.json").write_text(json.dumps(pooling))

    with pytest.raises(InvalidModel, match=named):
        open_model(ModelSource(checkpoint=str(directory), sequence_length=8))
