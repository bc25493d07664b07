"""Layers cut finer, so that stages can be cut more evenly (after Alpa's operator clustering, section 5.2).

A layer is cut between two of its operators where no more bytes cross than at its own borders and each piece
has a fair part of its products. An encoder block becomes its attention and its feed-forward network.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
from numpy.typing import NDArray

from services.core.errors import InvalidModel
from services.core.model import ModelSource
from services.parallel.architectures import open_model
from services.parallel.intra_op.graph import Graph, TensorId, trace
from services.parallel.intra_op.traffic import traffic
from services.parallel.model import (
    Activation,
    HostActivation,
    Index,
    Inputs,
    LayeredModel,
    Outputs,
    Parameters,
    Shapes,
    extremes_of,
)

# How much more than at the layer's own borders may cross, and what part of its products a piece must have.
_WIDEST = 1.1
_LEAST_SHARE = 1 / 16
_PRODUCTS = ("dot_general", "conv_general_dilated")


@dataclass(frozen=True, slots=True)
class _Piece:
    """A part of one layer, or all of it where `gives` and `takes` are None. `operators` are those it runs;
    tensors cross in `takes` and `gives` by name, None at the layer's own borders."""

    layer: int
    parameters: frozenset[str] = frozenset()
    operators: tuple[int, ...] = ()
    takes: dict[str, TensorId] | None = None
    gives: dict[str, TensorId] | None = None

    @property
    def is_whole(self) -> bool:
        return self.takes is None and self.gives is None


def open_refined(source: ModelSource) -> "RefinedModel":
    """The model of `source` in the layers that cuts count. Raises: InvalidModel."""
    return RefinedModel(open_model(source))


class RefinedModel:
    """A `LayeredModel` that computes what `model` does, in more layers where they can be cut."""

    def __init__(self, model: LayeredModel) -> None:
        """Traces every layer for one request and for two; nothing is computed or read."""
        self._model = model
        self._takes: dict[tuple[int, int], Shapes] = {}
        self._graphs: dict[tuple[int, int], Graph] = {}
        self._pieces = [piece for layer in range(model.num_layers) for piece in self._cut(layer)]

    @property
    def num_layers(self) -> int:
        return len(self._pieces)

    def refined_boundaries(self, boundaries: Sequence[int]) -> tuple[int, ...]:
        """A cut of the coarse model as one of this."""
        first = [index for index, piece in enumerate(self._pieces) if piece.takes is None]
        return tuple([*first, self.num_layers][boundary] for boundary in boundaries)

    def layer_parameters(self, layer: int) -> Shapes:
        piece = self._pieces[layer]
        shapes = self._model.layer_parameters(piece.layer)
        return {name: shape for name, shape in shapes.items() if piece.is_whole or name in piece.parameters}

    def read(self, layer: int, name: str, index: Index) -> NDArray[Any]:
        return self._model.read(self._pieces[layer].layer, name, index)

    def apply_layer(self, layer: int, parameters: Parameters, activation: Activation) -> Activation:
        """Raises: InvalidModel, if the layer's program is another for this batch size than for one request."""
        piece = self._pieces[layer]
        if piece.is_whole:
            return self._model.apply_layer(piece.layer, parameters, activation)
        batch_size = next(iter(activation.values())).shape[0]
        graph = self._graph(piece.layer, batch_size)
        if _names(graph) != _names(self._graph(piece.layer, 1)):
            raise InvalidModel(f"layer {piece.layer} has another program for {batch_size} requests than for 1")
        return _run(graph, piece, parameters, activation)

    def example(self) -> Inputs:
        return self._model.example()

    def extremes(self) -> tuple[Inputs, Inputs]:
        return extremes_of(self._model)

    def input_shapes(self, batch_size: int) -> Shapes:
        return self._model.input_shapes(batch_size)

    def prepare(self, batch: Sequence[Inputs]) -> HostActivation:
        return self._model.prepare(batch)

    def collect(self, activation: HostActivation) -> list[Outputs]:
        return self._model.collect(activation)

    def _cut(self, layer: int) -> Iterator[_Piece]:
        one, two = self._graph(layer, 1), self._graph(layer, 2)
        ends = list(_narrow_ends(one, two)) if _names(one) == _names(two) else []
        if not ends:
            yield _Piece(layer)
            return
        crossings = [None, *(_crossing(one, end) for end in ends), None]
        for takes, gives in pairwise(crossings):
            operators, read = _needed(one, takes, gives)
            names = (name for name, tensor in one.parameters[0].items() if tensor in read)
            yield _Piece(layer, frozenset(names), operators, takes, gives)

    def _graph(self, layer: int, batch_size: int) -> Graph:
        if (layer, batch_size) not in self._graphs:
            parameters = (self._model.layer_parameters(layer),)
            takes = self._layer_takes(layer, batch_size)
            self._graphs[layer, batch_size] = trace(partial(self._apply_whole, layer), parameters, takes)
        return self._graphs[layer, batch_size]

    def _apply_whole(self, layer: int, parameters: Sequence[Parameters], activation: Activation) -> Activation:
        return self._model.apply_layer(layer, parameters[0], activation)

    def _layer_takes(self, layer: int, batch_size: int) -> Shapes:
        shapes = self._takes.setdefault((0, batch_size), self._model.input_shapes(batch_size))
        for before in range(layer):
            if (before + 1, batch_size) not in self._takes:
                self._takes[before + 1, batch_size] = _gives(self._graph(before, batch_size), shapes)
            shapes = self._takes[before + 1, batch_size]
        return shapes


def _names(graph: Graph) -> list[str]:
    return [operator.name for operator in graph.operators]


def _narrow_ends(one: Graph, two: Graph) -> Iterator[int]:
    """The operators after which to cut, given the graphs for one request and for two."""
    products = [
        moved.flops if operator.name in _PRODUCTS else 0.0
        for operator, moved in zip(one.operators, traffic(one), strict=True)
    ]
    least, left, own = _LEAST_SHARE * sum(products), sum(products), 0.0
    border_bytes = max(_num_bytes(one, one.inputs.values()), _num_bytes(one, set(one.outputs)))
    for end, flops in enumerate(products):
        own, left = own + flops, left - flops
        if min(own, left) < least or not least:
            continue
        crossing = _crossing(one, end).values()
        is_narrow = _num_bytes(one, crossing) <= _WIDEST * border_bytes
        if is_narrow and all(_is_batched(one, two, tensor) for tensor in crossing):
            yield end
            own = 0.0


def _is_batched(one: Graph, two: Graph, tensor: TensorId) -> bool:
    shape, double = one.tensors[tensor].shape, two.tensors[tensor].shape
    return len(shape) > 0 and (shape[0], double[0]) == (1, 2) and shape[1:] == double[1:]


def _num_bytes(graph: Graph, tensors: Iterable[TensorId]) -> float:
    return math.fsum(graph.tensors[tensor].num_bytes for tensor in tensors)


def _crossing(graph: Graph, end: int) -> dict[str, TensorId]:
    """What later operators need of the activation and of operators up to `end`, by name: inputs under their
    own, the others numbered. What follows from weights alone does not cross: it is computed anew."""
    known = list(graph.inputs.values())
    for operator in graph.operators[: end + 1]:
        if set(known).intersection(operator.operands):
            known.extend(operator.outputs)
    wanted = set(graph.outputs)
    wanted.update(tensor for operator in graph.operators[end + 1 :] for tensor in operator.operands)
    names = {tensor: name for name, tensor in graph.inputs.items()}
    crossing = [tensor for tensor in known if tensor in wanted]
    return {names.get(tensor, f"crossing_{number}"): tensor for number, tensor in enumerate(crossing)}


def _needed(
    graph: Graph, takes: dict[str, TensorId] | None, gives: dict[str, TensorId] | None
) -> tuple[tuple[int, ...], set[TensorId]]:
    """The operators that lead from one crossing to the next, and all tensors that are read on the way."""
    given = set((graph.inputs if takes is None else takes).values())
    results = graph.outputs if gives is None else gives.values()
    wanted = set(results)
    operators = []
    for position in reversed(range(len(graph.operators))):
        operator = graph.operators[position]
        if (wanted - given).intersection(operator.outputs):
            wanted.update(operator.operands)
            operators.append(position)
    return tuple(reversed(operators)), wanted


def _gives(graph: Graph, takes: Shapes) -> Shapes:
    """The shapes of the graph's outputs, given those of its inputs."""
    known: dict[TensorId, Any] = {tensor: takes[name] for name, tensor in graph.inputs.items()}
    known.update((tensor, jnp.asarray(value)) for tensor, value in graph.constants.items())
    for operator in graph.operators:
        avals = (variable.aval for variable in operator.equation.outvars)
        known.update(zip(operator.outputs, avals, strict=True))
    leaves = [jax.ShapeDtypeStruct(known[tensor].shape, known[tensor].dtype) for tensor in graph.outputs]
    gives: Shapes = jax.tree.unflatten(graph.output_tree, leaves)
    return gives


def _run(graph: Graph, piece: _Piece, parameters: Parameters, activation: Activation) -> Activation:
    values: dict[TensorId, jax.Array] = {tensor: jnp.asarray(value) for tensor, value in graph.constants.items()}
    values.update((graph.parameters[0][name], value) for name, value in parameters.items())
    takes = graph.inputs if piece.takes is None else piece.takes
    values.update((takes[name], value) for name, value in activation.items())

    for position in piece.operators:
        operator = graph.operators[position]
        values.update(
            zip(operator.outputs, operator.run([values[tensor] for tensor in operator.operands]), strict=True)
        )
    if piece.gives is not None:
        return {name: values[tensor] for name, tensor in piece.gives.items()}
    result: Activation = jax.tree.unflatten(graph.output_tree, [values[tensor] for tensor in graph.outputs])
    return result
