"""What an operator computes and moves, as a compiler fuses it: the ground of the roofline.

Operators are heavy (matrix products, convolutions, lookups, sorts, whatever is not known) or light
(elementwise, broadcasts, reductions). Light ones fuse with their neighbours, so only these tensors reach
memory: inputs and weights, what heavy operators read or write, results of reductions, light results that a
reduction and something else read, and outputs of the stage. A light operator pays for those it writes and,
of those it reads, for the ones nobody in its fusion has read before; reshapes are free.
"""

import math
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any

from jax.extend.core import JaxprEqn, jaxprs_in_params

from services.parallel.intra_op.dimensions import ELEMENTWISE
from services.parallel.intra_op.graph import Graph, Operator, TensorId

_VIEWS = frozenset({"reshape", "squeeze", "copy", "copy_p", "stop_gradient"})
_REDUCTIONS = frozenset(
    {"argmax", "argmin", "reduce_and", "reduce_max", "reduce_min", "reduce_or", "reduce_prod", "reduce_sum"}
)
_LIGHT = ELEMENTWISE | _VIEWS | _REDUCTIONS | {"broadcast_in_dim", "iota", "pad", "rev", "slice", "transpose"}
# These read as much as they return, however large what they pick it from.
_PICKS = frozenset({"dynamic_slice", "gather", "slice", "split"})


@dataclass(frozen=True, slots=True)
class Traffic:
    """One operator on one device. `moved` are the tensors it reads from or writes to memory, as often as it
    does; `is_launched` is False for those that run inside another's kernel."""

    flops: float
    moved: tuple[TensorId, ...]
    is_launched: bool


def traffic(graph: Graph) -> list[Traffic]:
    """The traffic of every operator, in their order."""
    source = _sources(graph)
    stored = _stored(graph, source)
    fusions = _fusions(graph, source, stored)
    seen: set[tuple[int, TensorId]] = set()
    found = []
    for position, operator in enumerate(graph.operators):
        name = operator.name
        if name in _VIEWS:
            found.append(Traffic(0.0, (), is_launched=False))
            continue
        if name not in _LIGHT:
            read = operator.outputs if name in _PICKS else operator.operands
            found.append(Traffic(_flops(operator.equation), (*read, *operator.outputs), is_launched=True))
            continue
        wanted = {source[tensor]: tensor for tensor in operator.operands if source[tensor] in stored}
        news = [tensor for origin, tensor in wanted.items() if (fusions[position], origin) not in seen]
        seen.update((fusions[position], origin) for origin in wanted)
        written = [tensor for tensor in operator.outputs if tensor in stored]
        read_here = operator.outputs if name in _PICKS and news else news
        found.append(Traffic(_flops(operator.equation), (*read_here, *written), is_launched=bool(written)))
    return found


def _is_light(operator: Operator) -> bool:
    return operator.name in _LIGHT


def _sources(graph: Graph) -> dict[TensorId, TensorId]:
    """For each tensor the one whose memory it is: a view's is its operand's."""
    source = {tensor: tensor for tensor in range(len(graph.tensors))}
    for operator in graph.operators:
        if operator.name in _VIEWS and operator.operands:
            source[operator.outputs[0]] = source[operator.operands[0]]
    return source


def _stored(graph: Graph, source: dict[TensorId, TensorId]) -> set[TensorId]:
    """The tensors that reach memory."""
    written = {tensor for operator in graph.operators for tensor in operator.outputs}
    stored = set(range(len(graph.tensors))) - written
    stored.update(source[result] for result in graph.outputs)
    reduced: set[TensorId] = set()
    num_readers: Counter[TensorId] = Counter()
    for operator in graph.operators:
        read = {source[tensor] for tensor in operator.operands}
        is_reduction = operator.name in _REDUCTIONS
        if not _is_light(operator):
            stored.update(read)
        if is_reduction:
            reduced.update(read)
        if is_reduction or not _is_light(operator):
            stored.update(operator.outputs)
        if operator.name not in _VIEWS:
            num_readers.update(read)
    return stored | {tensor for tensor in reduced if num_readers[tensor] > 1}


def _fusions(graph: Graph, source: dict[TensorId, TensorId], stored: set[TensorId]) -> list[int]:
    """A number for each operator; light ones that pass a tensor on without storing it share theirs."""
    parent = list(range(len(graph.operators)))

    def root(position: int) -> int:
        while parent[position] != position:
            parent[position] = position = parent[parent[position]]
        return position

    readers: defaultdict[TensorId, list[int]] = defaultdict(list)
    for position, operator in enumerate(graph.operators):
        for tensor in {source[tensor] for tensor in operator.operands}:
            readers[tensor].append(position)
    for position, operator in enumerate(graph.operators):
        for reader in (reader for tensor in operator.outputs if tensor not in stored for reader in readers[tensor]):
            parent[root(reader)] = root(position)
    return [root(position) for position in range(len(graph.operators))]


def _flops(equation: JaxprEqn) -> float:
    """Of the whole operator: two for each multiplication and addition of products, one for each element else.
    Loops of known length count as often as they run, of branches the longest."""
    name, parameters = str(equation.primitive.name), equation.params
    if bodies := [sum(map(_flops, body.eqns)) for body in jaxprs_in_params(parameters)]:
        return max(bodies) if name == "cond" else sum(bodies) * float(parameters.get("length", 1))
    output = max((_num_elements(variable) for variable in equation.outvars), default=0.0)
    if name == "dot_general":
        (summed, _), _ = parameters["dimension_numbers"]
        return 2.0 * output * float(math.prod(_shape(equation.invars[0])[axis] for axis in summed))
    if name == "conv_general_dilated":
        _, *others = parameters["dimension_numbers"].rhs_spec
        return 2.0 * output * float(math.prod(_shape(equation.invars[1])[axis] for axis in others))
    read = equation.invars if name not in _PICKS else []
    return max([output, *(_num_elements(variable) for variable in read)])


def _shape(variable: Any) -> tuple[int, ...]:
    return tuple(getattr(variable.aval, "shape", ()))


def _num_elements(variable: Any) -> float:
    return float(math.prod(_shape(variable)))
