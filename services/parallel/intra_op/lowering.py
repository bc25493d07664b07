"""A chosen strategy for every operator as a function for jit: the graph run operator by operator, with a
sharding constraint on each output and wherever a tensor is read in another state than it is held in.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from services.parallel.intra_op.graph import Graph, Operator, StageFunction, TensorId
from services.parallel.intra_op.programme import WHOLE, State
from services.parallel.intra_op.strategies import REDUCE_SCATTER, Strategy
from services.parallel.model import Activation, Parameters
from services.parallel.sharding import INTRA_OP, split_spec


def lowered(graph: Graph, chosen: Sequence[Strategy]) -> StageFunction:
    """The stage's function, sharded as chosen (a strategy for each operator); to be jitted with a mesh in
    context. Parameters may come in any sharding, inputs come and outputs are left whole."""

    def apply(parameters: Sequence[Parameters], activation: Activation) -> Activation:
        held = _Held(graph, parameters, activation)
        for operator, strategy in zip(graph.operators, chosen, strict=True):
            held.run(operator, strategy)
        outputs = [held.read(result, WHOLE) for result in graph.outputs]
        result: Activation = jax.tree.unflatten(graph.output_tree, outputs)
        return result

    return apply


class _Held:
    """The tensors there are so far, in each state they have been brought into."""

    def __init__(self, graph: Graph, parameters: Sequence[Parameters], activation: Activation) -> None:
        self._graph = graph
        self._values: dict[TensorId, jax.Array] = {
            tensor: jnp.asarray(value) for tensor, value in graph.constants.items()
        }
        for tensors, values in zip(graph.parameters, parameters, strict=True):
            self._values.update((tensor, values[name]) for name, tensor in tensors.items())
        self._values.update((tensor, activation[name]) for name, tensor in graph.inputs.items())
        self._states: dict[TensorId, State] = {}
        self._resharded: dict[tuple[TensorId, State], jax.Array] = {}

    def read(self, tensor: TensorId, state: State) -> jax.Array:
        if self._states.get(tensor) == state:
            return self._values[tensor]
        if (tensor, state) not in self._resharded:
            self._resharded[tensor, state] = _constrained(self._values[tensor], state)
        return self._resharded[tensor, state]

    def run(self, operator: Operator, strategy: Strategy) -> None:
        operands = [self.read(*pair) for pair in zip(operator.operands, strategy.operands, strict=True)]
        is_scattered = strategy.collective == REDUCE_SCATTER
        returned = self._scattered(operator, strategy, operands) if is_scattered else operator.run(operands)
        for tensor, value, state in zip(operator.outputs, returned, strategy.outputs, strict=True):
            self._values[tensor] = _constrained(value, state)
            self._states[tensor] = state

    def _scattered(self, operator: Operator, strategy: Strategy, operands: Sequence[jax.Array]) -> Sequence[jax.Array]:
        """The operator's sum, of which each device keeps its part. The partitioner alone may sum the whole."""
        (state,) = strategy.outputs

        def own_part(*parts: jax.Array) -> jax.Array:
            (summand,) = operator.run(parts)
            kept: jax.Array = jax.lax.psum_scatter(summand, INTRA_OP, scatter_dimension=state, tiled=True)
            return kept

        pairs = zip(operands, strategy.operands, strict=True)
        taken = tuple(_spec(operand, held) for operand, held in pairs)
        given = split_spec(len(self._graph.tensors[operator.outputs[0]].shape), state)
        return [jax.shard_map(own_part, in_specs=taken, out_specs=given, check_vma=False)(*operands)]


def _constrained(value: jax.Array, state: State) -> jax.Array:
    if value.ndim == 0:
        return value
    constrained: jax.Array = jax.lax.with_sharding_constraint(value, _spec(value, state))
    return constrained


def _spec(value: jax.Array, state: State) -> PartitionSpec:
    return PartitionSpec() if state == WHOLE else split_spec(value.ndim, state)
