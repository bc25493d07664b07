"""Every way of splitting an operator, compiled: the value stays and only what it names moves between devices."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from services.parallel.intra_op.dimensions import Loops, dimensions
from services.parallel.intra_op.graph import Graph, trace
from services.parallel.intra_op.lowering import lowered
from services.parallel.intra_op.programme import WHOLE
from services.parallel.intra_op.strategies import Mesh, Strategy, strategies
from services.parallel.intra_op.traffic import traffic
from services.parallel.model import Activation, Parameters, Shapes
from tests.parallel.intra_op.programs import FEW_BYTES, collectives, compiled, drawn

Shape = tuple[int, ...]
Function = Callable[..., Any]
_PICTURES = ("NHWC", "HWIO", "NHWC")


def convolve(image: Any, kernel: Any, groups: int = 1) -> Any:
    return lax.conv_general_dilated(
        image, kernel, (1, 1), "SAME", dimension_numbers=_PICTURES, feature_group_count=groups
    )


def pool(image: Any) -> Any:
    return lax.reduce_window(image, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), ((0, 0), (1, 1), (1, 1), (0, 0)))


def look_up(table: Any, ids: Any) -> Any:
    return jnp.take(table, (ids > 0).astype(jnp.int32) * 5, axis=0, mode="clip")


def pick(values: Any, ids: Any) -> Any:
    return jnp.take_along_axis(values, (ids > 0).astype(jnp.int32), axis=1)


OPERATORS: dict[str, tuple[Function, tuple[Shape, ...], int]] = {
    "dot_general": (lambda x, y: jnp.einsum("bij,bjk->bik", x, y), ((4, 6, 8), (4, 8, 2)), 7),
    "product with itself": (lambda x: x @ x, ((8, 8),), 5),
    "conv_general_dilated": (convolve, ((2, 5, 5, 4), (3, 3, 4, 6)), 5),
    "grouped convolution": (lambda x, y: convolve(x, y, 4), ((2, 5, 5, 4), (3, 3, 1, 4)), 1),
    "sub": (lambda x, y: x - y, ((4, 6), (4, 1)), 2),
    "select_n": (lambda x, y: lax.select(x > 0, x, y), ((4, 6), (4, 6)), 2),
    "clamp": (lambda x: lax.clamp(0.0, x, 1.0), ((4, 6),), 2),
    "integer_pow": (lambda x: x**3, ((4, 6),), 2),
    "convert_element_type": (lambda x: x.astype(jnp.int32), ((4, 6),), 2),
    "broadcast_in_dim": (lambda x: lax.broadcast_in_dim(x, (4, 6, 8), (0, 2)), ((1, 8),), 3),
    "reshape": (lambda x: x.reshape(4, 6, 2, 8), ((4, 6, 16),), 3),
    "merging reshape": (lambda x: x.reshape(4, -1), ((4, 6, 4, 2),), 2),
    "transpose": (lambda x: x.transpose(2, 0, 1), ((4, 6, 8),), 3),
    "squeeze": (lambda x: lax.squeeze(x, (1,)), ((4, 1, 6),), 2),
    "reduce_sum": (lambda x: x.sum(axis=(0, 2)), ((4, 6, 8),), 5),
    "reduce_max": (lambda x: x.max(axis=1), ((4, 6, 8),), 3),
    "reduce_min": (lambda x: x.min(axis=0), ((4, 6),), 2),
    "reduce_prod": (lambda x: x.prod(axis=1), ((4, 6),), 1),
    "argmax": (lambda x: x.argmax(axis=1), ((4, 6, 2),), 2),
    "cumsum": (lambda x: lax.cumsum(x, axis=1), ((4, 6),), 1),
    "sort": (lambda x: lax.sort(x, dimension=1), ((4, 6),), 1),
    "concatenate": (lambda x, y: lax.concatenate([x, y], 1), ((4, 6), (4, 2)), 1),
    "slice": (lambda x: lax.slice(x, (0, 1), (4, 3)), ((4, 6),), 1),
    "pad": (lambda x: lax.pad(x, np.float32(0), ((0, 0, 0), (1, 1, 0))), ((4, 6),), 1),
    "dynamic_slice": (lambda x: lax.dynamic_slice(x, (np.int32(0), np.int32(2)), (4, 2)), ((4, 6),), 1),
    "dynamic_update_slice": (
        lambda x, y: lax.dynamic_update_slice(x, y, (np.int32(0), np.int32(2))),
        ((4, 6), (4, 2)),
        1,
    ),
    "rev": (lambda x: lax.rev(x, (1,)), ((4, 6),), 1),
    "split": (lambda x: lax.split(x, (2, 4), axis=1), ((4, 6),), 1),
    "reduce_window_max": (pool, ((2, 6, 6, 4),), 2),
    "iota": (lambda: lax.broadcasted_iota(jnp.int32, (4, 6), 1), (), 2),
    "gather": (look_up, ((8, 6), (2, 4)), 4),
    "batched gather": (pick, ((4, 8), (4, 2)), 3),
}


def last_operator(function: Function, shapes: tuple[Shape, ...]) -> tuple[Graph, list[list[Strategy]], Shapes]:
    activation = {f"a{place}": jax.ShapeDtypeStruct(shape, np.float32) for place, shape in enumerate(shapes)}

    def apply(_: object, activation: Activation) -> Activation:
        results = jax.tree.leaves(function(*activation.values()))
        return {str(place): result for place, result in enumerate(results)}

    graph = trace(apply, (), activation)
    pairs = zip(graph.operators, traffic(graph), strict=True)
    return graph, [strategies(graph, operator, moved, Mesh(2, FEW_BYTES)) for operator, moved in pairs], activation


@pytest.mark.parametrize("name", OPERATORS)
def test_each_strategy_keeps_the_value_and_moves_what_it_says(name: str) -> None:
    function, shapes, num_splits = OPERATORS[name]
    graph, found, activation = last_operator(function, shapes)
    before = [choices[0] for choices in found[:-1]]
    whole, *splits = found[-1]

    def apply(_: object, activation: Activation) -> Activation:
        # Inputs of its own for each strategy, so that none shares what another has moved.
        runs = {str(place): lowered(graph, [*before, strategy]) for place, strategy in enumerate((whole, *splits))}
        return {
            f"{place} {key}": value
            for place, run in runs.items()
            for key, value in run((), {name: activation[f"{place} {name}"] for name in own}).items()
        }

    own = drawn(activation)
    inputs = {f"{place} {name}": value for place in range(len(splits) + 1) for name, value in own.items()}
    program, outputs = compiled(apply, (), (), inputs, 2)

    assert len(splits) == num_splits
    for place, _ in enumerate(splits, start=1):
        for index, _ in enumerate(whole.outputs):
            np.testing.assert_allclose(outputs[f"{place} {index}"], outputs[f"0 {index}"], rtol=1e-4, atol=1e-5)
    assert collectives(program) == expected_collectives(splits)


def expected_collectives(splits: list[Strategy]) -> Counter[str]:
    """Their own, and the gathering of the results."""
    expected = Counter(split.collective for split in splits if split.collective is not None)
    expected["all-gather"] += sum(state != WHOLE for split in splits for state in split.outputs)
    return +expected


def test_an_unknown_primitive_has_no_dimensions() -> None:
    assert dimensions(Loops("new_primitive", {}, ((4, 6),), ((4, 6),))) == ()


def test_a_reshape_that_mixes_axes_cannot_be_split_there() -> None:
    loops = Loops("reshape", {"new_sizes": (8, 3, 5), "dimensions": None}, ((4, 6, 5),), ((8, 3, 5),))

    assert [dimension.operands for dimension in dimensions(loops)] == [(2,)]


def test_only_what_the_devices_divide_is_split() -> None:
    _, ((*found,),), _ = last_operator(lax.exp, ((3, 4, 5),))

    assert [strategy.outputs for strategy in found] == [(WHOLE,), (1,)]


def test_an_effect_runs_whole_and_is_kept() -> None:
    def watched(_: Sequence[Parameters], activation: Activation) -> Activation:
        jax.debug.callback(lambda value: None, activation["a"])
        return activation

    graph = trace(watched, (), {"a": jax.ShapeDtypeStruct((4, 6), np.float32)})
    (moved,) = traffic(graph)

    (strategy,) = strategies(graph, graph.operators[0], moved, Mesh(2, FEW_BYTES))

    assert strategy.operands == (WHOLE,)
