"""What the devices at hand cost, measured.

Every figure is a median of warm runs; ways between devices are fitted to a latency and a bandwidth.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from scipy.optimize import nnls

from services.core.device import DeviceCosts, Link
from services.core.errors import InvalidArgument
from services.parallel.sharding import INTRA_OP, stage_mesh

_WAY_BYTES = (1 << 12, 1 << 16, 1 << 20, 1 << 24)
_LARGEST_MATRIX = 1 << 14
_LARGEST_BYTES = 1 << 29
_LONG_ENOUGH_S = 0.02
_NUM_RUNS = 15
_FEW_RUNS = 5
_PATIENCE_S = 0.25
_CHAIN_LENGTHS = (1, 33, 65)
_FASTEST_BYTES_PER_S = 1e15
_UNIT = DeviceCosts(1.0, 1.0, 0.0, *(Link(0.0, 1.0),) * 5)

_COLLECTIVES: Mapping[str, Callable[[jax.Array], jax.Array]] = {
    "all_reduce": partial(jax.lax.psum, axis_name=INTRA_OP),
    "all_gather": partial(jax.lax.all_gather, axis_name=INTRA_OP, tiled=True),
    "reduce_scatter": partial(jax.lax.psum_scatter, axis_name=INTRA_OP, tiled=True),
    "all_to_all": partial(jax.lax.all_to_all, axis_name=INTRA_OP, split_axis=0, concat_axis=0, tiled=True),
}
_WHOLE_INPUTS = ("all_reduce", "reduce_scatter")


def calibrate(devices: Sequence[jax.Device], dtype: str = "float32") -> DeviceCosts:
    """Measure devices of one kind: dense rate in `dtype`, memory, operators, collectives, the border.

    `border` is all that entering a stage costs: the move of the activation and the start of the stage's
    program. A device alone has no collectives: they are taken to be as slow as its border, which is the way
    from the host's memory.

    Raises:
        InvalidArgument: no devices.
    """
    if not devices:
        raise InvalidArgument("there are no devices to calibrate")
    border = _border(devices)
    ways = {kind: _collective(kind, devices) if len(devices) > 1 else border for kind in _COLLECTIVES}
    return DeviceCosts(
        flops_per_s=_dense_flops_per_s(devices[0], jnp.dtype(dtype)),
        bytes_per_s=_memory_bytes_per_s(devices[0]),
        operator_s=_operator_s(devices[0]),
        border=border,
        **ways,
    )


def fit_link(num_bytes: Sequence[float], seconds: Sequence[float]) -> Link:
    """The latency and bandwidth, neither negative, that come closest in relative terms to the measured
    seconds `(num_samples,)`."""
    measured_s = np.maximum(np.asarray(seconds), 1e-9)
    # Bytes are scaled, so that both unknowns are of one order and the solver is not misled.
    scale = max(num_bytes)
    samples = np.column_stack((np.ones(len(measured_s)), np.asarray(num_bytes) / scale)) / measured_s[:, None]
    (latency_s, full_s), _ = nnls(samples, np.ones(len(measured_s)))
    return Link(float(latency_s), scale / max(float(full_s), scale / _FASTEST_BYTES_PER_S))


def median_s(run: Callable[[], object]) -> float:
    """Median seconds of a run, compiled and warm; long runs are repeated less."""
    return statistics.median(_runs_s(run))


def quickest_s(run: Callable[[], object]) -> float:
    """Seconds of the quickest of the same runs: what else the host does only ever makes a run longer."""
    return min(_runs_s(run))


def _runs_s(run: Callable[[], object]) -> list[float]:
    run()
    runs_s: list[float] = []
    while len(runs_s) < _NUM_RUNS and (len(runs_s) < _FEW_RUNS or sum(runs_s) < _PATIENCE_S):
        began_s = time.perf_counter()
        run()
        runs_s.append(time.perf_counter() - began_s)
    return runs_s


def _program_s(function: Callable[..., jax.Array], *arguments: jax.Array) -> float:
    program = jax.jit(function)
    return median_s(lambda: jax.block_until_ready(program(*arguments)))


def _dense_flops_per_s(device: jax.Device, dtype: np.dtype[Any]) -> float:
    """The best rate of square products that double in size until one takes long enough."""
    best, size = 0.0, 256
    while size <= _LARGEST_MATRIX:
        matrix = jax.device_put(jnp.full((size, size), 1 / size, dtype), device)
        seconds = _program_s(jnp.matmul, matrix, matrix)
        best = max(best, 2 * size**3 / seconds)
        if seconds > _LONG_ENOUGH_S:
            break
        size *= 2
    return best


def _memory_bytes_per_s(device: jax.Device) -> float:
    """Bytes read and written by an addition to a vector, too long for the caches."""
    num_bytes = 1 << 25
    while True:
        vector = jax.device_put(np.ones(num_bytes // 4, np.float32), device)
        seconds = _program_s(lambda value: value + 1, vector)
        if seconds > _LONG_ENOUGH_S or num_bytes >= _LARGEST_BYTES:
            return 2 * num_bytes / seconds
        num_bytes *= 2


def _operator_s(device: jax.Device) -> float:
    """What another tiny operator adds to a program: products, which are not fused with each other."""
    tiny = jax.device_put(np.eye(8, dtype=np.float32), device)

    def chain(length: int, value: jax.Array) -> jax.Array:
        for _ in range(length):
            value = value @ tiny
        return value

    seconds = [_program_s(partial(chain, length), tiny) for length in _CHAIN_LENGTHS]
    return max(float(np.polyfit(_CHAIN_LENGTHS, seconds, 1)[0]), 0.0)


def _border(devices: Sequence[jax.Device]) -> Link:
    """From one device (of one alone: from the host) to the next, and into a program there."""
    target = NamedSharding(stage_mesh(devices[1:2] or devices), PartitionSpec())
    program = jax.jit(lambda value: value[:1] + 1)
    seconds = []
    for num_bytes in _WAY_BYTES:
        activation = np.ones(num_bytes // 4, np.float32)
        source = activation if len(devices) == 1 else jax.device_put(activation, devices[0])

        def enter(source: Any = source) -> object:
            return jax.block_until_ready(program(jax.block_until_ready(jax.device_put(source, target))))

        seconds.append(median_s(enter))
    return fit_link(_WAY_BYTES, seconds)


def _collective(kind: str, devices: Sequence[jax.Device]) -> Link:
    start_s, samples = 0.0, []
    for count in _counts(len(devices)):
        start_s, own = _collective_samples(kind, devices[:count])
        samples.extend(own)
    fitted = fit_link(*zip(*samples, strict=True))
    return Link(max(fitted.latency_s - start_s, 0.0), fitted.bytes_per_s)


def _counts(num_devices: int) -> list[int]:
    """Two, four, … and all devices."""
    powers = [1 << power for power in range(1, num_devices.bit_length())]
    return sorted({*powers, num_devices})


def _collective_samples(kind: str, devices: Sequence[jax.Device]) -> tuple[float, list[tuple[float, float]]]:
    """Seconds to start a program on the devices; (bytes in the sense of the link, seconds with the start)."""
    mesh = stage_mesh(devices)
    spread = PartitionSpec(INTRA_OP)
    rows = NamedSharding(mesh, spread)
    mapped = partial(jax.shard_map, mesh=mesh, in_specs=spread, out_specs=spread, check_vma=False)
    samples = []
    for num_bytes in _WAY_BYTES:
        # Every device holds a multiple of the number of devices, so that all collectives divide it.
        length = max(num_bytes // 4 // len(devices) ** 2, 1) * len(devices) ** 2
        in_all = length * (len(devices) if kind in _WHOLE_INPUTS else 1)
        values = jax.device_put(np.ones(in_all, np.float32), rows)
        moved = getattr(_UNIT, f"{kind}_s")(4.0 * length, len(devices))
        samples.append((moved, _program_s(mapped(_COLLECTIVES[kind]), values)))
    start = jax.device_put(np.ones(len(devices), np.float32), rows)
    return _program_s(mapped(lambda value: value + 1), start), samples
