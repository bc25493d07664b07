"""The configs that the house carries have the sizes that their names say."""

import math

import pytest

from services.core.model import ModelSource
from services.parallel.architectures import open_model
from services.parallel.models.configs import shipped_config, shipped_names

UNITS = {"m": 1e6, "b": 1e9}
PAPER_SIZES = [name for name in shipped_names() if not name.endswith(("-tiny", "-small"))]
MODEL_TYPES = {"bert": "bert", "gpt": "gpt2", "moe": "moe", "wide-resnet": "wide_resnet"}


def num_parameters(name: str) -> int:
    """Of all tensors; the token table counts once, though the last layer holds it too."""
    model = open_model(ModelSource(config=name, sequence_length=2048 if "resnet" not in name else 1))
    return sum(
        math.prod(shape.shape)
        for layer in range(model.num_layers)
        for tensor, shape in model.layer_parameters(layer).items()
        if layer == 0 or tensor != "tokens"
    )


@pytest.mark.parametrize("name", PAPER_SIZES)
def test_a_config_has_the_parameters_of_its_name(name: str) -> None:
    size = name.rpartition("-")[2]

    assert num_parameters(name) == pytest.approx(float(size[:-1]) * UNITS[size[-1]], rel=0.1)


def test_there_are_the_sizes_of_both_papers() -> None:
    assert {"bert-1.3b", "bert-2.6b", "bert-6.7b", "bert-104b", "moe-1.3b", "moe-2.4b", "moe-5.3b"} < set(PAPER_SIZES)
    assert len(PAPER_SIZES) == 21
    assert [name for name in shipped_names() if name not in PAPER_SIZES] == [
        f"{kind}-{size}" for kind in MODEL_TYPES for size in ("small", "tiny")
    ]


@pytest.mark.parametrize("name", shipped_names())
def test_a_config_is_of_the_type_that_its_name_says(name: str) -> None:
    assert shipped_config(name)["model_type"] == MODEL_TYPES[name.rpartition("-")[0]]


@pytest.mark.parametrize("name", ["bert-104b", "moe-10b", "wide-resnet-13b"])
def test_announcing_and_reading_a_part_of_a_model_that_fits_no_host_is_cheap(name: str) -> None:
    model = open_model(ModelSource(config=name, sequence_length=2048, dtype="float16"))
    tensors = model.layer_parameters(2)
    largest = max(tensors, key=lambda tensor: math.prod(tensors[tensor].shape))
    corner = tuple(slice(size - min(size, 3), size) for size in tensors[largest].shape)

    assert model.read(2, largest, corner).std() > 0
