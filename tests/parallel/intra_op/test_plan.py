"""What is chosen for a stage, and that it never costs more than the hand-written shardings."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from services.core.device import DeviceCosts
from services.core.errors import DoesNotFit, InvalidArgument
from services.core.model import ModelSource
from services.parallel.architectures import open_model
from services.parallel.intra_op.baselines import megatron_plan, replicated_plan
from services.parallel.intra_op.graph import StageFunction
from services.parallel.intra_op.plan import StagePlan, plan_stage
from services.parallel.model import Shapes
from services.parallel.sharding import INTRA_OP
from services.parallel.stage import apply_layers
from tests.parallel.intra_op.programs import (
    CHEAP_PARTS,
    FEW_BYTES,
    FEW_COLLECTIVES,
    block_shapes,
    encoder,
    hidden_shapes,
)

COLUMNS, ROWS = PartitionSpec(None, INTRA_OP), PartitionSpec(INTRA_OP, None)
MEGATRON = {"wq": COLUMNS, "wk": COLUMNS, "wv": COLUMNS, "wi": COLUMNS, "wo": ROWS, "wu": ROWS}

Posed = tuple[StageFunction, Sequence[Shapes], Shapes]


def layer_of(name: str, layer: int) -> Posed:
    """One layer of a shipped model, as a stage."""
    model = open_model(ModelSource(config=name, seed=1, sequence_length=16))
    taken = model.input_shapes(1)
    for before in range(layer):
        taken = jax.eval_shape(partial(model.apply_layer, before), model.layer_parameters(before), taken)
    return partial(apply_layers, model, (layer,)), (model.layer_parameters(layer),), taken


BLOCKS: Mapping[str, Callable[[], Posed]] = {
    "plain block": lambda: (encoder(4), (block_shapes(64),), hidden_shapes(32, 64)),
    "two plain blocks": lambda: (encoder(4), (block_shapes(64),) * 2, hidden_shapes(32, 64)),
    "bert block": lambda: layer_of("bert-small", 1),
    "gpt block": lambda: layer_of("gpt-small", 1),
    "dense moe block": lambda: layer_of("moe-small", 1),
    "moe block": lambda: layer_of("moe-small", 2),
    "wide-resnet block": lambda: layer_of("wide-resnet-small", 2),
}


@pytest.mark.parametrize("num_devices", [2, 4])
@pytest.mark.parametrize("name", ["plain block", "bert block", "gpt block", "dense moe block"])
def test_a_transformer_block_is_sharded_as_megatron_does(name: str, num_devices: int) -> None:
    plan = plan_stage(*BLOCKS[name](), num_devices, FEW_COLLECTIVES)

    assert {weight: plan.parameter_specs[0][weight] for weight in MEGATRON} == MEGATRON
    assert plan.collectives == {"all-reduce": 2}


def test_where_bytes_count_sums_are_scattered_and_gathered() -> None:
    plan = plan_stage(*BLOCKS["plain block"](), 4, CHEAP_PARTS)

    assert {weight: plan.parameter_specs[0][weight] for weight in MEGATRON} == MEGATRON
    assert plan.collectives == {"reduce-scatter": 2, "all-gather": 2}


@pytest.mark.parametrize(("num_devices", "costs"), [(2, FEW_BYTES), (4, FEW_COLLECTIVES)])
@pytest.mark.parametrize("name", BLOCKS)
def test_a_plan_never_costs_more_than_the_baselines(name: str, num_devices: int, costs: DeviceCosts) -> None:
    stage, parameters, taken = BLOCKS[name]()
    megatron = megatron_plan(stage, parameters, taken, num_devices, costs, num_heads=4)
    replicated = replicated_plan(stage, parameters, taken, costs)

    as_small = plan_stage(stage, parameters, taken, num_devices, costs, memory_bytes=megatron.weight_bytes)
    unlimited = plan_stage(stage, parameters, taken, num_devices, costs, memory_bytes=math.inf)

    assert as_small.total_s <= megatron.total_s * (1 + 1e-3)
    assert as_small.weight_bytes <= megatron.weight_bytes
    assert unlimited.total_s <= min(as_small.total_s, replicated.total_s) * (1 + 1e-6)


@pytest.mark.parametrize("name", ["plain block", "bert block", "gpt block", "dense moe block"])
def test_megatron_beats_doing_everything_everywhere(name: str) -> None:
    stage, parameters, taken = BLOCKS[name]()

    megatron = megatron_plan(stage, parameters, taken, 4, FEW_COLLECTIVES, num_heads=4)

    assert megatron.total_s < 0.5 * replicated_plan(stage, parameters, taken, FEW_COLLECTIVES).total_s


def test_by_default_the_weights_are_shared_out() -> None:
    posed = BLOCKS["plain block"]()

    shared, unlimited = plan_stage(*posed, 4, FEW_BYTES), plan_stage(*posed, 4, FEW_BYTES, memory_bytes=math.inf)

    assert shared.weight_bytes < 0.27 * whole_bytes(posed)
    assert unlimited.weight_bytes > shared.weight_bytes
    assert unlimited.total_s < shared.total_s


def whole_bytes(posed: Posed) -> float:
    return sum(float(math.prod(shape.shape) * shape.dtype.itemsize) for layer in posed[1] for shape in layer.values())


@pytest.mark.parametrize("share", [0.26, 0.6])
def test_a_memory_limit_is_kept(share: float) -> None:
    posed = BLOCKS["plain block"]()
    limit = share * whole_bytes(posed)

    assert plan_stage(*posed, 4, FEW_BYTES, memory_bytes=limit).weight_bytes <= limit


def test_weights_that_do_not_fit_are_refused_with_the_figures() -> None:
    shapes = {"w": jax.ShapeDtypeStruct((8, 3), np.float32)}

    with pytest.raises(DoesNotFit, match="at least 24 bytes on each of 4 devices, which have 20"):
        plan_stage(product, (shapes,), {"x": jax.ShapeDtypeStruct((2, 8), np.float32)}, 4, FEW_BYTES, memory_bytes=20)


def product(parameters: Sequence[Mapping[str, jax.Array]], activation: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    return {"x": activation["x"] @ parameters[0]["w"]}


@pytest.mark.parametrize(
    ("name", "spec"),
    [("v", ROWS), ("w", COLUMNS), ("w", PartitionSpec("other", None)), ("w", PartitionSpec(INTRA_OP, INTRA_OP))],
)
def test_a_sharding_that_cannot_be_pinned_is_refused(name: str, spec: PartitionSpec) -> None:
    shapes = {"w": jax.ShapeDtypeStruct((8, 3), np.float32)}
    taken = {"x": jax.ShapeDtypeStruct((2, 8), np.float32)}

    with pytest.raises(InvalidArgument, match=name):
        plan_stage(product, (shapes,), taken, 4, FEW_BYTES, pinned=[{name: spec}])


def test_pinned_weights_stay_as_they_are_pinned() -> None:
    stage, parameters, _ = BLOCKS["two plain blocks"]()
    first = plan_stage(stage, parameters, hidden_shapes(32, 64), 2, FEW_COLLECTIVES)

    again = plan_stage(stage, parameters, hidden_shapes(48, 64), 2, FEW_BYTES, pinned=first.parameter_specs)

    assert again.parameter_specs == first.parameter_specs
    assert again.weight_bytes == first.weight_bytes


def test_one_device_runs_the_stage_as_it_is() -> None:
    stage, parameters, taken = BLOCKS["plain block"]()

    plan = plan_stage(stage, parameters, taken, 1, FEW_BYTES)

    assert plan.apply is stage
    assert (plan.communication_s, plan.collectives) == (0.0, {})
    assert set(plan.parameter_specs[0].values()) == {PartitionSpec()}
    assert plan.compute_s > 0


def test_the_same_stage_is_planned_alike() -> None:
    def found() -> StagePlan:
        return plan_stage(*BLOCKS["moe block"](), 4, FEW_BYTES)

    one, other = found(), found()

    assert one.parameter_specs == other.parameter_specs
    assert (one.total_s, one.collectives) == (other.total_s, other.collectives)


def test_a_stage_without_devices_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="got 0"):
        plan_stage(*BLOCKS["plain block"](), 0, FEW_BYTES)
