"""A stage as a flat graph of operators: the equations of its jaxpr, inner calls unfolded, dead ones dropped."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var, jaxpr_as_fun

from services.parallel.model import Activation, Parameters, Shapes

StageFunction: TypeAlias = Callable[[Sequence[Parameters], Activation], Activation]
TensorId: TypeAlias = int

# Calls that mean no more than their body, by the parameter that holds it.
_BODY = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "core_call": "call_jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "custom_vjp_call_jaxpr": "fun_jaxpr",
    "checkpoint": "jaxpr",
    "remat2": "jaxpr",
}


@dataclass(frozen=True, slots=True)
class Tensor:
    shape: tuple[int, ...]
    item_bytes: int

    @property
    def num_bytes(self) -> float:
        return float(math.prod(self.shape) * self.item_bytes)


@dataclass(frozen=True, slots=True)
class Operator:
    """One equation of the program `within`, and the tensors it reads and writes; one read twice is there twice."""

    equation: JaxprEqn
    within: Jaxpr
    operands: tuple[TensorId, ...]
    outputs: tuple[TensorId, ...]

    @property
    def name(self) -> str:
        return str(self.equation.primitive.name)

    @property
    def parameters(self) -> Mapping[str, Any]:
        parameters: Mapping[str, Any] = self.equation.params
        return parameters

    @property
    def has_effects(self) -> bool:
        return bool(self.equation.effects)

    def run(self, operands: Sequence[Any]) -> Sequence[jax.Array]:
        """The outputs on these operands, of which two may be one tensor in two states."""
        variables = [value if isinstance(value, Literal) else Var(value.aval) for value in self.equation.invars]
        pairs = zip(variables, operands, strict=True)
        given = {variable: value for variable, value in pairs if not isinstance(variable, Literal)}
        alone = self.within.replace(
            constvars=[],
            invars=list(given),
            outvars=self.equation.outvars,
            eqns=[self.equation.replace(invars=variables)],
            effects=self.equation.effects,
        )
        outputs: Sequence[jax.Array] = jaxpr_as_fun(ClosedJaxpr(alone, []))(*given.values())
        return outputs


@dataclass(frozen=True, slots=True)
class Graph:
    """Operators come in an order in which they can run. `outputs` are the stage's, as its tree `output_tree`
    flattens them; `constants` are the values that stand in the program itself."""

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    parameters: tuple[dict[str, TensorId], ...]
    inputs: dict[str, TensorId]
    constants: Mapping[TensorId, Any]
    outputs: tuple[TensorId, ...]
    output_tree: Any


def trace(apply: StageFunction, parameters: Sequence[Shapes], activation: Shapes) -> Graph:
    """The graph of a stage's function on these shapes; nothing is computed or compiled."""
    arguments = (tuple(dict(layer) for layer in parameters), dict(activation))
    closed, outputs = jax.make_jaxpr(apply, return_shape=True)(*arguments)
    builder = _Builder()
    given = [builder.tensor(variable.aval) for variable in closed.jaxpr.invars]
    layers, inputs = jax.tree.unflatten(jax.tree.structure(arguments), given)
    results = builder.unfold(closed.jaxpr, closed.consts, given)
    return Graph(
        tensors=tuple(builder.tensors),
        operators=_alive(builder.operators, results),
        parameters=layers,
        inputs=inputs,
        constants=builder.constants,
        outputs=tuple(results),
        output_tree=jax.tree.structure(outputs),
    )


class _Builder:
    """What has been unfolded so far."""

    def __init__(self) -> None:
        self.tensors: list[Tensor] = []
        self.operators: list[Operator] = []
        self.constants: dict[TensorId, Any] = {}

    def tensor(self, aval: Any) -> TensorId:
        dtype = getattr(aval, "dtype", None)
        self.tensors.append(Tensor(tuple(getattr(aval, "shape", ())), getattr(dtype, "itemsize", 0)))
        return len(self.tensors) - 1

    def unfold(self, jaxpr: Jaxpr, constants: Sequence[Any], arguments: Sequence[TensorId]) -> list[TensorId]:
        """Append the operators of `jaxpr`; returns what its outputs have become."""
        held: dict[Var, TensorId] = dict(zip(jaxpr.invars, arguments, strict=True))
        for variable, value in zip(jaxpr.constvars, constants, strict=True):
            held[variable] = self._constant(variable.aval, value)

        def read(value: Var | Literal) -> TensorId:
            return self._literal(value) if isinstance(value, Literal) else held[value]

        for equation in jaxpr.eqns:
            results = self._append(equation, jaxpr, [read(value) for value in equation.invars])
            held.update(zip(equation.outvars, results, strict=True))
        return [read(value) for value in jaxpr.outvars]

    def _append(self, equation: JaxprEqn, within: Jaxpr, operands: list[TensorId]) -> Sequence[TensorId]:
        body = equation.params.get(_BODY.get(equation.primitive.name, ""))
        if isinstance(body, ClosedJaxpr):
            return self.unfold(body.jaxpr, body.consts, operands)
        if isinstance(body, Jaxpr) and not body.constvars:
            return self.unfold(body, (), operands)
        outputs = tuple(self.tensor(variable.aval) for variable in equation.outvars)
        self.operators.append(Operator(equation, within, tuple(operands), outputs))
        return outputs

    def _literal(self, literal: Literal) -> TensorId:
        aval: Any = literal.aval
        return self._constant(aval, np.asarray(literal.val, aval.dtype))

    def _constant(self, aval: Any, value: Any) -> TensorId:
        tensor = self.tensor(aval)
        self.constants[tensor] = value
        return tensor


def _alive(operators: Sequence[Operator], results: Sequence[TensorId]) -> tuple[Operator, ...]:
    needed = set(results)
    kept = []
    for operator in reversed(operators):
        if operator.has_effects or needed.intersection(operator.outputs):
            needed.update(operator.operands)
            kept.append(operator)
    return tuple(reversed(kept))
