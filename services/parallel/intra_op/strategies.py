"""The ways to run one operator on n devices, and what each costs (Alpa, section 4.2)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from services.core.device import DeviceCosts
from services.parallel.intra_op.dimensions import Dimension, Loops, dimensions
from services.parallel.intra_op.graph import Graph, Operator
from services.parallel.intra_op.programme import WHOLE, Reshard, State
from services.parallel.intra_op.traffic import Traffic

ALL_REDUCE, ALL_GATHER, REDUCE_SCATTER, ALL_TO_ALL = "all-reduce", "all-gather", "reduce-scatter", "all-to-all"

# Sums whose parts each device computes from its parts of the operands as they are.
_SCATTERED = frozenset({"conv_general_dilated", "dot_general", "reduce_sum"})


@dataclass(frozen=True, slots=True)
class Strategy:
    """States by operand and by output; `collective` joins the outputs' parts, if need be."""

    operands: tuple[State, ...]
    outputs: tuple[State, ...]
    compute_s: float
    communication_s: float = 0.0
    collective: str | None = None


@dataclass(frozen=True, slots=True)
class Mesh:
    """`num_devices` devices of one kind in a row."""

    num_devices: int
    costs: DeviceCosts

    def divides(self, size: int) -> bool:
        return size % self.num_devices == 0

    def reshard(self, num_bytes: float) -> Reshard:
        """What it takes for a tensor of `num_bytes` in all."""
        gather_s = self.costs.all_gather_s(num_bytes, self.num_devices)
        return Reshard(gather_s, self.costs.all_to_all_s(num_bytes, self.num_devices))

    def states(self, shape: Sequence[int]) -> list[State]:
        """Every state that a tensor of this shape can have."""
        if self.num_devices == 1:
            return [WHOLE]
        return [WHOLE, *(axis for axis, size in enumerate(shape) if size and self.divides(size))]


def strategies(graph: Graph, operator: Operator, traffic: Traffic, mesh: Mesh) -> list[Strategy]:
    """Whole everywhere first, then split along each dimension; of those alike in all states, the cheapest."""
    shapes = tuple(graph.tensors[operand].shape for operand in operator.operands)
    outputs = tuple(graph.tensors[output].shape for output in operator.outputs)
    loops = Loops(operator.name, operator.parameters, shapes, outputs)
    unsplit = Dimension(1, (None,) * len(shapes), (None,) * len(outputs))
    found = [_strategy(graph, operator, traffic, mesh, unsplit)]
    if mesh.num_devices > 1 and not operator.has_effects:
        for dimension in dimensions(loops):
            if mesh.divides(dimension.size):
                split = _strategy(graph, operator, traffic, mesh, dimension)
                found.extend(_joined(graph, operator, split, mesh, dimension))
    best: dict[tuple[tuple[State, ...], tuple[State, ...]], Strategy] = {}
    for strategy in sorted(found, key=lambda strategy: strategy.compute_s + strategy.communication_s):
        best.setdefault((strategy.operands, strategy.outputs), strategy)
    return [strategy for strategy in found if best[strategy.operands, strategy.outputs] is strategy]


def _strategy(graph: Graph, operator: Operator, traffic: Traffic, mesh: Mesh, dimension: Dimension) -> Strategy:
    operands = tuple(WHOLE if axis is None else axis for axis in dimension.operands)
    outputs = tuple(WHOLE if axis is None else axis for axis in dimension.outputs)
    held = dict(zip(operator.outputs, outputs, strict=True))
    held.update(zip(operator.operands, operands, strict=True))
    num_bytes = sum(
        graph.tensors[tensor].num_bytes / (1 if held[tensor] == WHOLE else mesh.num_devices) for tensor in traffic.moved
    )
    flops = traffic.flops / (mesh.num_devices if dimension.size > 1 else 1)
    costs = mesh.costs
    if traffic.is_launched:
        return Strategy(operands, outputs, costs.compute_s(flops, num_bytes))
    return Strategy(operands, outputs, max(flops / costs.flops_per_s, num_bytes / costs.bytes_per_s))


def _joined(graph: Graph, operator: Operator, split: Strategy, mesh: Mesh, dimension: Dimension) -> Iterator[Strategy]:
    """`split` itself or, where it leaves parts of a reduction, each way of joining them."""
    if dimension.reduction is None:
        yield split
        return
    (output,) = operator.outputs
    tensor = graph.tensors[output]
    reduced_s = mesh.costs.all_reduce_s(tensor.num_bytes, mesh.num_devices)
    yield Strategy(split.operands, (WHOLE,), split.compute_s, reduced_s, ALL_REDUCE)
    if operator.name in _SCATTERED:
        scattered_s = mesh.costs.reduce_scatter_s(tensor.num_bytes, mesh.num_devices)
        for axis in mesh.states(tensor.shape)[1:]:
            yield Strategy(split.operands, (axis,), split.compute_s, scattered_s, REDUCE_SCATTER)
