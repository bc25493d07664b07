"""What a layer computes and holds at once, read off its graph: nothing is computed, read or compiled."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import jax

from services.parallel.intra_op.graph import Graph, TensorId, trace
from services.parallel.intra_op.traffic import traffic
from services.parallel.model import LayeredModel, Shapes
from services.parallel.stage import apply_layers

_VIEWS = frozenset({"reshape", "squeeze"})


@dataclass(frozen=True, slots=True)
class Footprint:
    """Of one layer for one batch size on one device: floating-point operations, and the bytes beside the weights
    when they are most, inputs and outputs included."""

    flops: float
    activation_bytes: float


def footprints(model: LayeredModel, batch_size: int) -> tuple[Footprint, ...]:
    """One for each layer; layers whose tensors are alike are read once."""
    known: dict[tuple[object, ...], tuple[Footprint, Shapes]] = {}
    found = []
    takes = model.input_shapes(batch_size)
    for layer in range(model.num_layers):
        parameters = model.layer_parameters(layer)
        key = _shapes_key(parameters), _shapes_key(takes)
        if key not in known:
            known[key] = _footprint(model, layer, parameters, takes)
        footprint, takes = known[key]
        found.append(footprint)
    return tuple(found)


def _footprint(model: LayeredModel, layer: int, parameters: Shapes, takes: Shapes) -> tuple[Footprint, Shapes]:
    graph = trace(partial(apply_layers, model, (layer,)), (parameters,), takes)
    flops = sum(operator.flops for operator in traffic(graph))
    gives = jax.eval_shape(partial(model.apply_layer, layer), dict(parameters), dict(takes))
    return Footprint(flops, _peak_bytes(graph)), gives


def _peak_bytes(graph: Graph) -> float:
    """The most bytes alive at an operator, of the tensors that reach memory."""
    origin = _origins(graph)
    last = _last_reads(graph, origin)
    stored = {origin[tensor] for moved in traffic(graph) for tensor in moved.moved}
    weights = {tensor for layer in graph.parameters for tensor in layer.values()}
    alive = {tensor for tensor in graph.inputs.values() if tensor in last}
    peak = held = sum(graph.tensors[tensor].num_bytes for tensor in alive)
    for position, operator in enumerate(graph.operators):
        written = {tensor for tensor in operator.outputs if tensor in stored and origin[tensor] == tensor}
        alive |= written
        held += sum(graph.tensors[tensor].num_bytes for tensor in written)
        peak = max(peak, held)
        over = {tensor for tensor in alive - weights if last.get(tensor, -1) <= position}
        alive -= over
        held -= sum(graph.tensors[tensor].num_bytes for tensor in over)
    return peak


def _origins(graph: Graph) -> list[TensorId]:
    """For each tensor the one whose memory it is: a reshaped one's is its operand's."""
    origin = list(range(len(graph.tensors)))
    for operator in graph.operators:
        if operator.name in _VIEWS and operator.operands:
            origin[operator.outputs[0]] = origin[operator.operands[0]]
    return origin


def _last_reads(graph: Graph, origin: Sequence[TensorId]) -> Mapping[TensorId, int]:
    """The position of the last operator that reads each tensor; what the layer returns is kept to the end."""
    last = {
        origin[tensor]: position for position, operator in enumerate(graph.operators) for tensor in operator.operands
    }
    return last | {origin[output]: len(graph.operators) for output in graph.outputs}


def _shapes_key(shapes: Shapes) -> tuple[object, ...]:
    return tuple((name, shape.shape, str(shape.dtype)) for name, shape in sorted(shapes.items()))
