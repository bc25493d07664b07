"""Which operators pay for which bytes and operations."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from services.parallel.intra_op.graph import Graph, trace
from services.parallel.intra_op.traffic import Traffic, traffic
from services.parallel.model import Activation, Parameters

Function = Callable[[Any], Any]
ROWS, COLUMNS = 8, 12
ONE = 4.0 * ROWS * COLUMNS


def traced(function: Function) -> tuple[Graph, list[Traffic]]:
    def apply(_: Sequence[Parameters], activation: Activation) -> Activation:
        return {"x": function(activation["x"])}

    graph = trace(apply, (), {"x": jax.ShapeDtypeStruct((ROWS, COLUMNS), np.float32)})
    return graph, traffic(graph)


def moved_bytes(function: Function) -> float:
    """In all; scalars do not count."""
    graph, found = traced(function)
    tensors = [graph.tensors[tensor] for part in found for tensor in part.moved]
    return sum(tensor.num_bytes for tensor in tensors if tensor.shape)


@pytest.mark.parametrize(
    ("function", "num_bytes"),
    [
        (lambda x: x + 1, 2 * ONE),
        (lambda x: jnp.sin(jnp.cos(x) * 2) + jnp.exp(x), 2 * ONE),
        (lambda x: jnp.sin(x).reshape(-1).reshape(2, -1), 2 * ONE),
        (lambda x: jnp.sin(x) @ jnp.ones((COLUMNS, COLUMNS)), 4 * ONE + 2 * 4 * COLUMNS**2),
        (lambda x: lax.slice(x, (0, 0), (2, COLUMNS)), 2 * ONE * 2 / ROWS),
        (lambda x: x.sum(axis=1), ONE + 4 * ROWS),
        # The shifted values are stored, because their maximum and they themselves are wanted.
        (lambda x: (y := x + 1) - y.max(axis=1, keepdims=True), 5 * ONE + 2 * 4 * ROWS),
    ],
    ids=["one", "a fused chain", "views", "a product of what was made", "a cut", "a sum", "a maximum and its source"],
)
def test_only_what_reaches_memory_is_paid_for(function: Function, num_bytes: float) -> None:
    assert moved_bytes(function) == pytest.approx(num_bytes)


@pytest.mark.parametrize(
    ("function", "flops"),
    [
        (lambda x: x @ x.T, 2 * ROWS * ROWS * COLUMNS + ROWS * COLUMNS),
        (lambda x: x.sum(), ROWS * COLUMNS),
        (lambda x: lax.fori_loop(0, 5, lambda _, y: y @ jnp.ones((COLUMNS, COLUMNS)), x), None),
        (lambda x: lax.slice(x, (0, 0), (1, 4)), 4),
    ],
    ids=["a product", "a sum", "a loop", "a cut"],
)
def test_operations_are_counted(function: Function, flops: float | None) -> None:
    _, found = traced(function)
    in_a_loop = 5 * (2 * ROWS * COLUMNS**2)

    assert sum(part.flops for part in found) == pytest.approx(flops or in_a_loop, rel=0.1)


def test_a_fused_operator_starts_no_kernel() -> None:
    _, found = traced(lambda x: jnp.sin(jnp.cos(x)))

    assert [part.is_launched for part in found] == [False, True]


def test_dead_operators_are_dropped() -> None:
    graph, _ = traced(lambda x: (jnp.cos(x) @ x.T, x * 2)[1])

    assert [operator.name for operator in graph.operators] == ["mul"]
