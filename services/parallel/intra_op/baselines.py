"""What the pass is held against: the whole stage on every device, and the hand-written shardings of Megatron-LM
(Shoeybi et al., 2019) and GShard (Lepikhin et al., 2020), which fix the weights; the integer program finds the
best shardings of the operators around them.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product

from jax.sharding import PartitionSpec

from services.core.device import DeviceCosts
from services.parallel.intra_op.graph import StageFunction
from services.parallel.intra_op.plan import StagePlan, plan_stage
from services.parallel.model import Shapes
from services.parallel.sharding import split_spec

# The axis each weight is split along, by its name.
_FEED_FORWARD = {"wi": 1, "bi": 0, "wu": 0, "tokens": 0}
_ATTENTION = {"wq": 1, "bq": 0, "wk": 1, "bk": 0, "wv": 1, "bv": 0, "wo": 0}
_EXPERTS: tuple[Mapping[str, int], ...] = (
    {"expert_wi": 2, "expert_bi": 1, "expert_wu": 1},
    {"expert_wi": 0, "expert_bi": 0, "expert_wu": 0, "expert_bu": 0},
)
# Of kernels (height, width, inputs, outputs): alternately the outputs and the inputs are split.
_CONVOLUTIONS: tuple[Mapping[str, int], ...] = (
    {"conv1": 3, "conv2": 2, "conv3": 3, "shortcut": 3},
    {"conv1": 2, "conv2": 3, "conv3": 2, "shortcut": 2},
)


def replicated_plan(
    apply: StageFunction, parameters: Sequence[Shapes], activation: Shapes, costs: DeviceCosts
) -> StagePlan:
    """Every device holds and does the whole."""
    return plan_stage(apply, parameters, activation, 1, costs)


def megatron_plan(
    apply: StageFunction,
    parameters: Sequence[Shapes],
    activation: Shapes,
    num_devices: int,
    costs: DeviceCosts,
    *,
    num_heads: int,
) -> StagePlan:
    """The quickest of the hand-written shardings; weights they do not name are whole."""
    plans = (
        plan_stage(apply, parameters, activation, num_devices, costs, pinned=specs)
        for specs in megatron_specs(parameters, num_devices, num_heads)
    )
    return min(plans, key=lambda plan: plan.total_s)


def megatron_specs(
    parameters: Sequence[Shapes], num_devices: int, num_heads: int
) -> Iterator[list[dict[str, PartitionSpec]]]:
    """The hand-written shardings that differ for these weights, by layer. Attention is split by heads, and
    whole where the devices do not divide them."""
    attention = {} if num_heads % num_devices else _ATTENTION
    seen = []
    for tables in product(_EXPERTS, _CONVOLUTIONS):
        axes = {name: axis for table in (_FEED_FORWARD, attention, *tables) for name, axis in table.items()}
        specs = [_specs(layer, axes, num_devices) for layer in parameters]
        if specs not in seen:
            seen.append(specs)
            yield specs


def _specs(layer: Shapes, axes: Mapping[str, int], num_devices: int) -> dict[str, PartitionSpec]:
    return {
        name: split_spec(len(shape.shape), axes[name])
        if name in axes and shape.shape[axes[name]] % num_devices == 0
        else PartitionSpec()
        for name, shape in layer.items()
    }
