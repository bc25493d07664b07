"""What layers cost, and the cut that follows from it."""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from services.core.device import DeviceCosts, Link
from services.core.errors import DoesNotFit, InvalidArgument, InvalidModel
from services.core.model import ModelSource
from services.core.profile import ParallelConfig
from services.core.profile_documents import parse_profiles
from services.parallel.architectures import open_model
from services.parallel.inter_op.layer_costs import (
    LayerCosts,
    balanced_boundaries,
    choose_boundaries,
    estimated_layer_costs,
    measured_layer_costs,
)
from services.parallel.known_devices import known_devices
from services.parallel.model import LayeredModel
from services.parallel.models.configs import shipped_config

CPU = known_devices()["cpu"]
V100 = known_devices()["v100"]
# A second for each floating-point operation, and nothing else costs anything.
FLOPS_ONLY = DeviceCosts(1.0, 1e30, 0.0, *(Link(0.0, 1e30),) * 5)
PUBLISHED = parse_profiles(
    json.loads((Path(__file__).resolve().parents[3] / "services/profiler/data/v100.json").read_text())
)
BERTS = ("bert-1.3b", "bert-2.6b", "bert-6.7b")


def opened(name: str, sequence_length: int = 16, **changes: Any) -> LayeredModel:
    config = {**shipped_config(name), **changes}
    return open_model(ModelSource(config=json.dumps(config), sequence_length=sequence_length, dtype="float32"))


def xla_flops(model: LayeredModel) -> float:
    takes = model.input_shapes(1)
    total = 0.0
    for layer in range(model.num_layers):
        parameters = model.layer_parameters(layer)
        apply = partial(model.apply_layer, layer)
        counted = jax.jit(apply).lower(parameters, takes).cost_analysis()
        assert counted is not None
        total += counted["flops"]
        takes = jax.eval_shape(apply, parameters, takes)
    return total


@pytest.mark.parametrize(
    ("name", "sequence_length", "changes"),
    [
        ("bert-1.3b", 1024, {"num_hidden_layers": 1}),
        ("gpt-1.3b", 1024, {"num_hidden_layers": 1}),
        ("moe-1.3b", 1024, {"num_hidden_layers": 2}),
        ("wide-resnet-1b", 224, {}),
    ],
)
def test_the_flops_of_the_roofline_are_those_that_xla_counts(
    name: str, sequence_length: int, changes: Mapping[str, Any]
) -> None:
    model = opened(name, sequence_length, **changes)

    counted = estimated_layer_costs(model, 1, FLOPS_ONLY).latency_s.sum()

    # XLA leaves out where a convolution meets its padding.
    assert counted == pytest.approx(xla_flops(model), rel=0.05)


@pytest.mark.parametrize("name", BERTS)
def test_the_cost_model_of_a_v100_predicts_the_published_latencies(name: str) -> None:
    model = open_model(ModelSource(config=name, sequence_length=2048, dtype="float16"))

    one, four = (float(estimated_layer_costs(model, count, V100).latency_s.sum()) for count in (1, 4))

    (published_four,) = PUBLISHED[name].at(ParallelConfig(1, 4)).stage_latency_s
    assert one == pytest.approx(PUBLISHED[name].single_device_latency_s(), rel=0.03)
    assert four == pytest.approx(published_four, rel=0.1)


def test_layers_that_are_the_same_cost_the_same() -> None:
    costs = estimated_layer_costs(opened("moe-tiny"), 1, CPU)

    embedding, dense, experts, again, *_ = costs.latency_s
    assert dense == again
    assert len({embedding, dense, experts}) == 3


@pytest.mark.parametrize("num_devices", [1, 2])
def test_measured_layers_hold_the_weights_that_were_estimated(num_devices: int) -> None:
    model = opened("bert-tiny", num_hidden_layers=2)

    measured = measured_layer_costs(model, jax.devices(), num_devices, CPU)

    estimated = estimated_layer_costs(model, num_devices, CPU)
    assert measured.weight_bytes.tolist() == estimated.weight_bytes.tolist()
    assert measured.activation_bytes.tolist() == estimated.activation_bytes.tolist()
    assert measured.latency_s[1] == measured.latency_s[2]
    assert (measured.latency_s > 0).any()
    assert (measured.entry_s > 0).all()


def test_more_devices_than_there_are_cannot_be_measured() -> None:
    with pytest.raises(InvalidArgument, match="5 devices wanted, 4 present"):
        measured_layer_costs(opened("bert-tiny"), jax.devices(), 5, CPU)


def layers(latency_s: list[float], entry_s: list[float], weight_bytes: list[float]) -> LayerCosts:
    return LayerCosts(*(np.array(column) for column in (latency_s, entry_s, weight_bytes, weight_bytes)))


def test_a_stage_costs_its_layers_and_the_way_to_the_first() -> None:
    costs = layers([1.0, 2.0, 4.0], [0.5, 0.25, 0.125], [10.0, 20.0, 40.0])

    assert costs.stage_latency_s((0, 2, 3)) == (3.5, 4.125)
    assert costs.stage_weight_bytes((0, 2, 3)) == (30.0, 40.0)


def test_a_cut_avoids_the_border_that_costs_most() -> None:
    costs = layers([1.0, 1.0, 1.0, 2.0], [0.0, 0.0, 5.0, 0.0], [1.0] * 4)

    assert choose_boundaries(costs, 2) == (0, 3, 4)


def test_a_cut_keeps_to_the_memory_of_a_device() -> None:
    costs = layers([1.0, 1.0, 1.0, 1.0], [0.0] * 4, [30.0, 10.0, 10.0, 10.0])

    assert choose_boundaries(costs, 2, memory_bytes=30.0) == (0, 1, 4)


def test_what_fits_under_no_cut_is_told_with_what_it_would_need() -> None:
    costs = layers([1.0, 1.0, 1.0], [0.0] * 3, [30.0, 10.0, 10.0])

    with pytest.raises(DoesNotFit, match="2 stages need 30 bytes on a device, 29 are allowed"):
        choose_boundaries(costs, 2, memory_bytes=29.0)


def test_a_model_is_balanced_by_what_its_layers_are_estimated_to_cost() -> None:
    model = opened("bert-tiny")

    boundaries = balanced_boundaries(model, 2, 1, CPU)

    assert boundaries == choose_boundaries(estimated_layer_costs(model, 1, CPU), 2)
    assert balanced_boundaries(model, 1, 1, CPU) == (0, model.num_layers)


def test_a_model_has_no_more_stages_than_layers() -> None:
    with pytest.raises(InvalidModel, match="5 layers cannot be cut into 6 stages"):
        balanced_boundaries(opened("bert-tiny"), 6, 1, CPU)
