"""The plan of a stage on n devices: how its weights are held and its operators run, and what that costs."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jax.sharding import PartitionSpec

from services.core.device import DeviceCosts
from services.core.errors import DoesNotFit, InvalidArgument
from services.parallel.intra_op.graph import Graph, StageFunction, Tensor, TensorId, trace
from services.parallel.intra_op.lowering import lowered
from services.parallel.intra_op.programme import WHOLE, Choice, Node, Programme, State, solve
from services.parallel.intra_op.strategies import ALL_GATHER, ALL_TO_ALL, Mesh, Strategy, strategies
from services.parallel.intra_op.traffic import traffic
from services.parallel.model import Shapes
from services.parallel.sharding import INTRA_OP, split_spec

Specs = Sequence[Mapping[str, PartitionSpec]]

# Of the time to read a weight once, the price of holding it: whole weights are worth something, but no detour.
_HOLDING = 0.01
# Of a layer's largest weight: what is smaller need not be split to share the memory.
_SMALL = 0.1


@dataclass(frozen=True, slots=True)
class StagePlan:
    """`apply` is the stage's function with its shardings, to be jitted under `jax.set_mesh` of a mesh with the
    axis `intra_op`, the stage's inputs and outputs whole. Times are predicted; bytes are a device's;
    `collectives` counts the operations between devices by kind."""

    parameter_specs: tuple[dict[str, PartitionSpec], ...]
    apply: StageFunction
    compute_s: float
    communication_s: float
    weight_bytes: float
    collectives: Counter[str]

    @property
    def total_s(self) -> float:
        return self.compute_s + self.communication_s


def plan_stage(
    apply: StageFunction,
    parameters: Sequence[Shapes],
    activation: Shapes,
    num_devices: int,
    costs: DeviceCosts,
    *,
    pinned: Specs | None = None,
    memory_bytes: float | None = None,
) -> StagePlan:
    """Choose the sharding of every operator and weight that takes the least time on `num_devices` devices.

    `pinned` fixes the shardings of the weights it names, by layer. `memory_bytes` is what a device may hold of
    the weights. By default they are shared out, because memory is what serving is short of: every matrix of
    some size is split along one of its axes. Without a limit (`math.inf`) it is often quicker to split the
    tokens of a transformer and hold most weights whole.

    Raises:
        DoesNotFit: the weights exceed `memory_bytes` however they are split.
        InvalidArgument: a pinned sharding that the weight cannot have on these devices.
    """
    if num_devices < 1:
        raise InvalidArgument(f"num_devices must be at least 1, got {num_devices}")
    graph = trace(apply, parameters, activation)
    mesh = Mesh(num_devices, costs)
    weights = _weight_states(graph, mesh, pinned or [{} for _ in parameters], is_shared_out=memory_bytes is None)
    stage = _Stage(graph, mesh, weights)
    limit = math.inf if memory_bytes is None else memory_bytes
    stage.check_memory(limit)
    programme = stage.programme(limit)
    return stage.plan(apply, programme, solve(programme, stage.guess(limit)))


class _Stage:
    """A graph on a mesh, its weights as nodes in front of its operators and its results as one behind."""

    def __init__(self, graph: Graph, mesh: Mesh, weights: Mapping[TensorId, Sequence[State]]) -> None:
        self._graph = graph
        self._mesh = mesh
        self._weights = weights
        pairs = zip(graph.operators, traffic(graph), strict=True)
        self._strategies = [strategies(graph, operator, moved, mesh) for operator, moved in pairs]

    def check_memory(self, memory_bytes: float) -> None:
        least = sum(min(self._bytes(tensor, state) for state in states) for tensor, states in self._weights.items())
        if least > memory_bytes:
            raise DoesNotFit(
                f"the weights need at least {least:.0f} bytes on each of {self._mesh.num_devices} devices, "
                f"which have {memory_bytes:.0f}"
            )

    def guess(self, memory_bytes: float) -> list[int]:
        """Every operator whole; every weight whole if that fits, and as small as it can be if not."""
        whole = sum(self._bytes(tensor, states[0]) for tensor, states in self._weights.items())
        weights = [0 if whole <= memory_bytes else len(states) - 1 for states in self._weights.values()]
        return [*weights, *(0 for _ in self._strategies), 0]

    def programme(self, memory_bytes: float) -> Programme:
        weights = (
            Node(tuple(self._weight_choice(tensor, state) for state in states), writes=(tensor,))
            for tensor, states in self._weights.items()
        )
        operators = (
            Node(tuple(_choice(strategy) for strategy in found), operator.operands, operator.outputs)
            for operator, found in zip(self._graph.operators, self._strategies, strict=True)
        )
        results = self._graph.outputs
        last = Node((Choice(0.0, reads=(WHOLE,) * len(results)),), reads=results)
        reshards = [self._mesh.reshard(tensor.num_bytes) for tensor in self._graph.tensors]
        return Programme((*weights, *operators, last), reshards, memory_bytes)

    def plan(self, apply: StageFunction, programme: Programme, chosen: Sequence[int]) -> StagePlan:
        """What the choices mean."""
        held = {tensor: states[index] for (tensor, states), index in zip(self._weights.items(), chosen, strict=False)}
        indices = chosen[len(held) : -1]
        taken = [found[index] for found, index in zip(self._strategies, indices, strict=True)]
        changes = [change for change in programme.changes(chosen) if change[1] != WHOLE]
        kinds = [strategy.collective for strategy in taken if strategy.collective is not None]
        kinds.extend(ALL_GATHER if after == WHOLE else ALL_TO_ALL for _, _, after in changes)
        return StagePlan(
            parameter_specs=tuple(
                {name: _spec(self._graph.tensors[tensor], held[tensor]) for name, tensor in layer.items()}
                for layer in self._graph.parameters
            ),
            apply=lowered(self._graph, taken) if self._mesh.num_devices > 1 else apply,
            compute_s=sum(strategy.compute_s for strategy in taken),
            communication_s=sum(strategy.communication_s for strategy in taken)
            + sum(programme.reshards[tensor].seconds(before, after) for tensor, before, after in changes),
            weight_bytes=programme.weight_bytes(chosen),
            collectives=Counter(kinds),
        )

    def _bytes(self, tensor: TensorId, state: State) -> float:
        return self._graph.tensors[tensor].num_bytes / (1 if state == WHOLE else self._mesh.num_devices)

    def _weight_choice(self, tensor: TensorId, state: State) -> Choice:
        num_bytes = self._bytes(tensor, state)
        seconds = _HOLDING * num_bytes / self._mesh.costs.bytes_per_s
        return Choice(seconds, writes=(state,), weight_bytes=num_bytes)


def _choice(strategy: Strategy) -> Choice:
    return Choice(strategy.compute_s + strategy.communication_s, strategy.operands, strategy.outputs)


def _weight_states(graph: Graph, mesh: Mesh, pinned: Specs, *, is_shared_out: bool) -> dict[TensorId, list[State]]:
    """The states that every weight may be held in, the largest first."""
    if len(pinned) != len(graph.parameters):
        raise InvalidArgument(f"{len(pinned)} layers are pinned, the stage has {len(graph.parameters)}")
    found: dict[TensorId, list[State]] = {}
    for tensors, specs in zip(graph.parameters, pinned, strict=True):
        if unknown := specs.keys() - tensors.keys():
            raise InvalidArgument(f"there are no weights {sorted(unknown)} to pin")
        small = _SMALL * max((graph.tensors[tensor].num_bytes for tensor in tensors.values()), default=0.0)
        for name, tensor in tensors.items():
            weight = graph.tensors[tensor]
            states = mesh.states(weight.shape)
            if name in specs:
                found[tensor] = [_state(name, specs[name], states)]
            elif is_shared_out and len(weight.shape) > 1 and weight.num_bytes > small:
                found[tensor] = states[1:] or states
            else:
                found[tensor] = states
    return found


def _state(name: str, spec: PartitionSpec, states: Sequence[State]) -> State:
    named = [(axis, names) for axis, names in enumerate(spec) if names is not None]
    state = WHOLE if not named else named[0][0]
    if len(named) > 1 or state not in states or any(names not in (INTRA_OP, (INTRA_OP,)) for _, names in named):
        raise InvalidArgument(f"{name} cannot be pinned to {spec}, only to whole or a split of axes {states[1:]}")
    return state


def _spec(tensor: Tensor, state: State) -> PartitionSpec:
    return PartitionSpec() if state == WHOLE else split_spec(len(tensor.shape), state)
