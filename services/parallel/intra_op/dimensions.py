"""Along which dimensions an operator can be split: for each, the axis of every operand and output it runs over.

An operator whose primitive is not listed has none; it runs whole on every device, which is always right.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

Axis: TypeAlias = int | None
Shape: TypeAlias = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Dimension:
    """One dimension of an operator's loop nest, which any divisor of `size` may split.

    `operands` and `outputs` hold the axis each of them is split along, None where it stays whole. If
    `reduction` is set, the outputs lack the dimension, and each device gets a part of their `"sum"`,
    `"max"` or `"min"`.
    """

    size: int
    operands: tuple[Axis, ...]
    outputs: tuple[Axis, ...]
    reduction: str | None = None


@dataclass(frozen=True, slots=True)
class Loops:
    """What decides an operator's dimensions."""

    name: str
    parameters: Mapping[str, Any]
    operands: tuple[Shape, ...]
    outputs: tuple[Shape, ...]


def dimensions(loops: Loops) -> tuple[Dimension, ...]:
    """All dimensions longer than 1, in the order of the output's axes, reductions last."""
    if loops.name in ELEMENTWISE:
        return tuple(_long(_elementwise(loops)))
    rule = _RULES.get(loops.name)
    return tuple(_long(rule(loops))) if rule else ()


def _long(found: Iterator[Dimension]) -> Iterator[Dimension]:
    return (dimension for dimension in found if dimension.size > 1)


def _elementwise(loops: Loops) -> Iterator[Dimension]:
    (output, *_) = loops.outputs
    for axis, size in enumerate(output):
        # An operand may be a scalar or have length 1 where it is spread.
        held = tuple(axis if axis < len(shape) and shape[axis] == size else None for shape in loops.operands)
        yield Dimension(size, held, (axis,) * len(loops.outputs))


def _untouched(loops: Loops, touched: Sequence[int], num_split: int = 1) -> Iterator[Dimension]:
    """The axes that the first `num_split` operands and all outputs share, but for the touched ones."""
    for axis, size in enumerate(loops.outputs[0]):
        if axis not in touched:
            operands = tuple(axis if index < num_split else None for index in range(len(loops.operands)))
            yield Dimension(size, operands, (axis,) * len(loops.outputs))


def _along(key: str) -> Callable[[Loops], Iterator[Dimension]]:
    """All axes but the one under `key`, the last if it is not said; every operand is split alike."""

    def rule(loops: Loops) -> Iterator[Dimension]:
        touched = loops.parameters.get(key, -1) % len(loops.operands[0])
        return _untouched(loops, [touched], num_split=len(loops.operands))

    return rule


def _same_extent(loops: Loops) -> Iterator[Dimension]:
    """The axes as long in the output as in the operand: of these, a cut or a pad leaves all."""
    pairs = zip(loops.operands[0], loops.outputs[0], strict=True)
    return _untouched(loops, [axis for axis, (before, after) in enumerate(pairs) if before != after])


def _sliced(loops: Loops) -> Iterator[Dimension]:
    strides = loops.parameters.get("strides")
    return iter(()) if strides and any(stride != 1 for stride in strides) else _same_extent(loops)


def _padded(loops: Loops) -> Iterator[Dimension]:
    return _untouched(loops, [axis for axis, padding in enumerate(loops.parameters["padding_config"]) if any(padding)])


def _updated(loops: Loops) -> Iterator[Dimension]:
    pairs = enumerate(zip(loops.operands[0], loops.operands[1], strict=True))
    return _untouched(loops, [axis for axis, (whole, part) in pairs if whole != part], num_split=2)


def _window(loops: Loops) -> Iterator[Dimension]:
    at = loops.parameters
    keys = ("window_dimensions", "window_strides", "base_dilation", "window_dilation")
    axes = range(len(loops.operands[0]))
    return _untouched(
        loops, [axis for axis in axes if any(at[key][axis] != 1 for key in keys) or any(at["padding"][axis])]
    )


def _broadcast(loops: Loops) -> Iterator[Dimension]:
    (operand,), (output,) = loops.operands[:1], loops.outputs
    source = {axis: index for index, axis in enumerate(loops.parameters["broadcast_dimensions"])}
    for axis, size in enumerate(output):
        index = source.get(axis)
        yield Dimension(size, (index if index is not None and operand[index] == size else None,), (axis,))


def _free(loops: Loops) -> Iterator[Dimension]:
    return (Dimension(size, (None,) * len(loops.operands), (axis,)) for axis, size in enumerate(loops.outputs[0]))


def _transpose(loops: Loops) -> Iterator[Dimension]:
    for axis, source in enumerate(loops.parameters["permutation"]):
        yield Dimension(loops.outputs[0][axis], (source,), (axis,))


def _reshape(loops: Loops) -> Iterator[Dimension]:
    """Axes that stay, and the leading factor of axes that are merged into one or split from one."""
    if loops.parameters.get("dimensions") is not None or 0 in loops.operands[0]:
        return
    for before, after in _groups(loops.operands[0], loops.outputs[0]):
        if len(before) == 1 or len(after) == 1:
            source, target = before[0], after[0]
            yield Dimension(math.gcd(loops.operands[0][source], loops.outputs[0][target]), (source,), (target,))


def _groups(before: Shape, after: Shape) -> Iterator[tuple[list[int], list[int]]]:
    """The shortest runs of axes with equal products, axes of length 1 left out."""
    left = [axis for axis, size in enumerate(before) if size > 1]
    right = [axis for axis, size in enumerate(after) if size > 1]
    while left and right:
        taken, given = [left.pop(0)], [right.pop(0)]
        while (held := math.prod(before[axis] for axis in taken)) != (
            wanted := math.prod(after[axis] for axis in given)
        ):
            if held < wanted:
                taken.append(left.pop(0))
            else:
                given.append(right.pop(0))
        yield taken, given


def _squeeze(loops: Loops) -> Iterator[Dimension]:
    dropped = {axis % len(loops.operands[0]) for axis in loops.parameters["dimensions"]}
    kept = [axis for axis in range(len(loops.operands[0])) if axis not in dropped]
    return (Dimension(loops.operands[0][source], (source,), (axis,)) for axis, source in enumerate(kept))


def _reduce(reduction: str | None) -> Callable[[Loops], Iterator[Dimension]]:
    def rule(loops: Loops) -> Iterator[Dimension]:
        (shape,), axes = loops.operands, loops.parameters["axes"]
        kept = [axis for axis in range(len(shape)) if axis not in axes]
        for axis, source in enumerate(kept):
            yield Dimension(shape[source], (source,), (axis,) * len(loops.outputs))
        if reduction is not None:
            for axis in axes:
                yield Dimension(shape[axis], (axis,), (None,), reduction)

    return rule


def _dot(loops: Loops) -> Iterator[Dimension]:
    left, right = loops.operands
    (left_sums, right_sums), (left_batch, right_batch) = loops.parameters["dimension_numbers"]
    axis = 0
    for one, other in zip(left_batch, right_batch, strict=True):
        yield Dimension(left[one], (one, other), (axis,))
        axis += 1
    for one in range(len(left)):
        if one not in (*left_sums, *left_batch):
            yield Dimension(left[one], (one, None), (axis,))
            axis += 1
    for other in range(len(right)):
        if other not in (*right_sums, *right_batch):
            yield Dimension(right[other], (None, other), (axis,))
            axis += 1
    for one, other in zip(left_sums, right_sums, strict=True):
        yield Dimension(left[one], (one, other), (None,), "sum")


def _convolution(loops: Loops) -> Iterator[Dimension]:
    """Images, output and input channels; pictures stay whole, or neighbours would exchange borders."""
    numbers = loops.parameters["dimension_numbers"]
    if loops.parameters["batch_group_count"] != 1:
        return
    batch, feature, *_ = numbers.lhs_spec
    wide, deep, *_ = numbers.rhs_spec
    image, channel, *_ = numbers.out_spec
    yield Dimension(loops.operands[0][batch], (batch, None), (image,))
    if loops.parameters["feature_group_count"] == 1:
        yield Dimension(loops.operands[1][wide], (None, wide), (channel,))
        yield Dimension(loops.operands[0][feature], (feature, deep), (None,), "sum")


def _gather(loops: Loops) -> Iterator[Dimension]:
    """Lookups, batched axes, what is looked up in full, and the rows of a table: each device looks up
    those it holds, the others are zero in its part of the sum."""
    table, indices = loops.operands
    numbers, slices = loops.parameters["dimension_numbers"], loops.parameters["slice_sizes"]
    lookups = [axis for axis in range(len(loops.outputs[0])) if axis not in numbers.offset_dims]
    batched = dict(zip(numbers.start_indices_batching_dims, numbers.operand_batching_dims, strict=True))
    for axis, output in enumerate(lookups):
        yield Dimension(indices[axis], (batched.get(axis), axis), (output,))
    gone = {*numbers.collapsed_slice_dims, *numbers.operand_batching_dims}
    kept = [axis for axis in range(len(table)) if axis not in gone]
    for axis, output in zip(kept, numbers.offset_dims, strict=True):
        if slices[axis] == table[axis]:
            yield Dimension(table[axis], (axis, None), (output,))
    if len(numbers.start_index_map) == 1 and numbers.collapsed_slice_dims == numbers.start_index_map:
        (row,) = numbers.collapsed_slice_dims
        yield Dimension(table[row], (row, None), (None,), "sum")


def _split(loops: Loops) -> Iterator[Dimension]:
    return _untouched(loops, [loops.parameters["axis"]])


_ELEMENTWISE = """
abs acos acosh add and asin asinh atan atan2 atanh cbrt ceil clamp convert_element_type copy copy_p cos cosh digamma
div eq erf erf_inv erfc exp exp2 expm1 floor ge gt integer_pow is_finite le lgamma log log1p logistic lt max min mul
ne neg nextafter not or population_count pow reduce_precision rem round rsqrt select_n shift_left
shift_right_arithmetic shift_right_logical sign sin sinh sqrt square stop_gradient sub tan tanh xor
"""
ELEMENTWISE = frozenset(_ELEMENTWISE.split())

_RULES: Mapping[str, Callable[[Loops], Iterator[Dimension]]] = {
    "argmax": _reduce(None),
    "argmin": _reduce(None),
    "broadcast_in_dim": _broadcast,
    "concatenate": _along("dimension"),
    "conv_general_dilated": _convolution,
    "cumlogsumexp": _along("axis"),
    "cummax": _along("axis"),
    "cummin": _along("axis"),
    "cumprod": _along("axis"),
    "cumsum": _along("axis"),
    "dot_general": _dot,
    "dynamic_slice": _same_extent,
    "dynamic_update_slice": _updated,
    "gather": _gather,
    "iota": _free,
    "pad": _padded,
    "reduce_and": _reduce(None),
    "reduce_max": _reduce("max"),
    "reduce_min": _reduce("min"),
    "reduce_or": _reduce(None),
    "reduce_prod": _reduce(None),
    "reduce_sum": _reduce("sum"),
    "reduce_window_max": _window,
    "reduce_window_min": _window,
    "reduce_window_sum": _window,
    "reshape": _reshape,
    "rev": lambda loops: _untouched(loops, loops.parameters["dimensions"]),
    "slice": _sliced,
    "sort": _along("dimension"),
    "split": _split,
    "squeeze": _squeeze,
    "transpose": _transpose,
}
