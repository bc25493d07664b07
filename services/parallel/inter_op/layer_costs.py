"""What each layer of a model costs on a stage's devices, estimated or measured, and the cut that follows.

A stage's latency is the entry of its first layer and the sum of its layers; layers with one program and the
same shapes are planned, or built and timed, once.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from services.core.device import DeviceCosts
from services.core.errors import DoesNotFit, InvalidArgument, InvalidModel
from services.parallel.calibration import quickest_s
from services.parallel.inter_op.cut import interval_sums, min_max_boundaries
from services.parallel.intra_op.plan import plan_stage
from services.parallel.model import LayeredModel, Shapes
from services.parallel.sharding import stage_mesh, whole
from services.parallel.stage import apply_layers, compile_stage, load_stage


@dataclass(frozen=True, slots=True, eq=False)
class LayerCosts:
    """Arrays `(num_layers,)` for one batch size and one number of devices per stage.

    `latency_s` is the layer alone. `entry_s` is what a stage that begins with the layer costs beside its
    layers: the move of `activation_bytes` to its devices and the start of its program. `weight_bytes` are
    those of one device.
    """

    latency_s: NDArray[np.float64]
    entry_s: NDArray[np.float64]
    weight_bytes: NDArray[np.float64]
    activation_bytes: NDArray[np.float64]

    def runs_s(self) -> NDArray[np.float64]:
        """Latency of a stage of layers i … k, both included, `(num_layers, num_layers)`."""
        return self.entry_s[:, None] + interval_sums(self.latency_s)

    def stage_latency_s(self, boundaries: Sequence[int]) -> tuple[float, ...]:
        runs_s = self.runs_s()
        return tuple(float(runs_s[start, stop - 1]) for start, stop in pairwise(boundaries))

    def stage_weight_bytes(self, boundaries: Sequence[int]) -> tuple[float, ...]:
        return tuple(float(self.weight_bytes[start:stop].sum()) for start, stop in pairwise(boundaries))


@dataclass(frozen=True, slots=True)
class _Layer:
    """`program` tells layers apart; `takes` is the activation in front of the layer."""

    program: str
    parameters: Shapes
    takes: Shapes

    def key(self) -> tuple[object, ...]:
        return self.program, tuple(sorted(self.parameters)), tuple(sorted(self.takes))


def estimated_layer_costs(model: LayeredModel, num_devices: int, costs: DeviceCosts, batch_size: int = 1) -> LayerCosts:
    """By the intra-op pass's own prediction for each layer on `num_devices`; nothing is computed or read."""

    def estimate(index: int, layer: _Layer) -> tuple[float, float]:
        apply = partial(apply_layers, model, (index,))
        plan = plan_stage(apply, (layer.parameters,), layer.takes, num_devices, costs)
        return plan.total_s, plan.weight_bytes

    layers = _traced(model, batch_size)
    return _assembled(layers, estimate, [costs.border.seconds(_num_bytes(layer.takes)) for layer in layers])


def measured_layer_costs(
    model: LayeredModel, devices: Sequence[jax.Device], num_devices: int, costs: DeviceCosts, batch_size: int = 1
) -> LayerCosts:
    """By the clock, the quickest of several runs: each distinct layer is built on the first `num_devices`, run
    warm as the executor runs it, and freed. Activations come from the next devices if there are as many more,
    else from the host.

    Raises:
        InvalidArgument: there are fewer devices.
    """
    if not 1 <= num_devices <= len(devices):
        raise InvalidArgument(f"{num_devices} devices wanted, {len(devices)} present")
    mesh = stage_mesh(devices[:num_devices])
    others = devices[num_devices : 2 * num_devices]
    before = whole(stage_mesh(others)) if len(others) == num_devices else None
    tiny = jax.device_put(np.ones(1, np.float32), whole(mesh))
    program = jax.jit(lambda value: value + 1)
    start_s = quickest_s(lambda: jax.block_until_ready(program(tiny)))
    layers = _traced(model, batch_size)
    moves_s: dict[tuple[object, ...], float] = {}

    def timed(index: int, layer: _Layer) -> tuple[float, float]:
        loaded, _ = load_stage(model, range(index, index + 1), mesh, layer.takes, costs)
        stage, _ = compile_stage(loaded, model, {batch_size: layer.takes}, costs)
        given = {name: jnp.zeros(shape.shape, shape.dtype) for name, shape in layer.takes.items()}
        source: Any = jax.device_get(given) if before is None or index == 0 else jax.device_put(given, before)
        try:
            moves_s[layer.key()] = quickest_s(partial(stage.place, source))
            run_s = quickest_s(partial(stage.run, stage.place(source)))
        finally:
            stage.free()
        return max(run_s - start_s, 0.0), stage.weight_bytes

    measured = _assembled(layers, timed, [0.0] * len(layers))
    entry_s = np.array([moves_s[layer.key()] + start_s for layer in layers])
    return LayerCosts(measured.latency_s, entry_s, measured.weight_bytes, measured.activation_bytes)


def choose_boundaries(costs: LayerCosts, num_stages: int, memory_bytes: float = np.inf) -> tuple[int, ...]:
    """The cut into `num_stages` whose slowest stage is fastest and whose weights fit every device.

    Raises:
        InvalidArgument: more stages than layers, or none.
        DoesNotFit: every cut has a stage of more than `memory_bytes` on a device.
    """
    stage_bytes = interval_sums(costs.weight_bytes)
    boundaries = min_max_boundaries(costs.runs_s(), num_stages, stage_bytes, memory_bytes)
    if boundaries is None:
        lightest = min_max_boundaries(stage_bytes, num_stages) or ()
        least = max(costs.stage_weight_bytes(lightest))
        raise DoesNotFit(f"{num_stages} stages need {least:,.0f} bytes on a device, {memory_bytes:,.0f} are allowed")
    return boundaries


def balanced_boundaries(model: LayeredModel, num_stages: int, num_devices: int, costs: DeviceCosts) -> tuple[int, ...]:
    """The cut that is estimated best for single requests on `num_devices` per stage.

    Raises:
        InvalidModel: the model has fewer layers than stages.
    """
    if not 1 <= num_stages <= model.num_layers:
        raise InvalidModel(f"a model of {model.num_layers} layers cannot be cut into {num_stages} stages")
    if num_stages == 1:
        return 0, model.num_layers
    return choose_boundaries(estimated_layer_costs(model, num_devices, costs), num_stages)


def _traced(model: LayeredModel, batch_size: int) -> list[_Layer]:
    """Every layer's program and shapes; nothing is computed."""
    layers = []
    takes = model.input_shapes(batch_size)
    for index in range(model.num_layers):
        parameters = model.layer_parameters(index)
        trace = jax.make_jaxpr(partial(model.apply_layer, index), return_shape=True)
        program, gives = trace(parameters, takes)
        # Functions print with their addresses, which differ between layers that are the same.
        layers.append(_Layer(re.sub(r" at 0x[0-9a-f]+", "", str(program)), parameters, takes))
        takes = {name: jax.ShapeDtypeStruct(shape.shape, shape.dtype) for name, shape in gives.items()}
    return layers


def _assembled(
    layers: Sequence[_Layer], cost: Callable[[int, _Layer], tuple[float, float]], entry_s: Sequence[float]
) -> LayerCosts:
    """`cost` gives seconds and bytes per device of a layer; it is asked once for layers that are the same."""
    known: dict[tuple[object, ...], tuple[float, float]] = {}
    for index, layer in enumerate(layers):
        if layer.key() not in known:
            known[layer.key()] = cost(index, layer)
    pairs = np.array([known[layer.key()] for layer in layers], dtype=np.float64)
    activation_bytes = np.array([_num_bytes(layer.takes) for layer in layers], dtype=np.float64)
    return LayerCosts(pairs[:, 0], np.array(entry_s), pairs[:, 1], activation_bytes)


def _num_bytes(shapes: Shapes) -> int:
    return sum(shape.size * shape.dtype.itemsize for shape in shapes.values())
