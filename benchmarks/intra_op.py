"""What sharding a block costs by our plan, by Megatron's and with everything on every device.

`python -m benchmarks.intra_op [--devices 2 4]`. Predicted at the papers' sizes in float16 on V100 (known costs)
and on this machine's CPU devices (calibrated); measured beside the prediction at small sizes on the latter;
then the seconds it takes to plan 24 and 48 layers. `ours` shares the weights out as Megatron does, `ours, no
limit` may hold all of them on every device.
"""

import argparse
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from time import perf_counter

import jax
import numpy as np
from jax.sharding import NamedSharding

from benchmarks.report import table, title
from services.core.device import DeviceCosts
from services.core.model import ModelSource
from services.parallel.architectures import open_model
from services.parallel.calibration import calibrate, median_s
from services.parallel.environment import device_environment
from services.parallel.intra_op.baselines import megatron_plan, replicated_plan
from services.parallel.intra_op.graph import StageFunction
from services.parallel.intra_op.plan import StagePlan, plan_stage
from services.parallel.known_devices import known_devices
from services.parallel.model import Shapes
from services.parallel.sharding import stage_mesh, whole
from services.parallel.stage import apply_layers

# Config, layer, sequence length, attention heads.
_LARGE = (
    ("bert-1.3b", 1, 2048, 32),
    ("bert-6.7b", 1, 2048, 32),
    ("gpt-1.3b", 1, 1024, 32),
    ("moe-1.3b", 2, 1024, 16),
    ("moe-10b", 2, 1024, 16),
    ("wide-resnet-1b", 2, 1, 1),
    ("wide-resnet-13b", 2, 1, 1),
)
_SMALL = (
    ("bert-small", 1, 512, 4),
    ("gpt-small", 1, 512, 4),
    ("moe-small", 2, 512, 4),
    ("wide-resnet-small", 2, 1, 4),
)
_HEADER = ("costs", "block", "devices", "everything everywhere ms", "Megatron ms", "ours ms", "ours, no limit ms")


@dataclass(frozen=True, slots=True)
class Block:
    """One layer of a model as a stage."""

    name: str
    apply: StageFunction
    parameters: tuple[Shapes, ...]
    taken: Shapes
    num_heads: int

    def plans(self, num_devices: int, costs: DeviceCosts) -> tuple[StagePlan, ...]:
        """Everything everywhere, Megatron's, ours, ours without a memory limit."""
        posed = self.apply, self.parameters, self.taken
        return (
            replicated_plan(*posed, costs),
            megatron_plan(*posed, num_devices, costs, num_heads=self.num_heads),
            plan_stage(*posed, num_devices, costs),
            plan_stage(*posed, num_devices, costs, memory_bytes=math.inf),
        )


def block(config: str, layer: int, length: int, num_heads: int, dtype: str = "float32") -> Block:
    model = open_model(ModelSource(config=config, seed=1, sequence_length=length, dtype=dtype))
    taken = model.input_shapes(1)
    for before in range(layer):
        taken = jax.eval_shape(partial(model.apply_layer, before), model.layer_parameters(before), taken)
    apply = partial(apply_layers, model, (layer,))
    return Block(f"{config}, layer {layer}", apply, (model.layer_parameters(layer),), taken, num_heads)


def predicted(counts: Sequence[int], calibrated: DeviceCosts) -> Iterator[tuple[object, ...]]:
    for kind, costs in (("V100", known_devices()["v100"]), ("CPU devices", calibrated)):
        for config, layer, length, num_heads in _LARGE:
            posed = block(config, layer, length, num_heads, "float16")
            for count in counts:
                yield kind, posed.name, count, *(1e3 * plan.total_s for plan in posed.plans(count, costs))


def measured(counts: Sequence[int], calibrated: DeviceCosts) -> Iterator[tuple[object, ...]]:
    for config, layer, length, num_heads in _SMALL:
        posed = block(config, layer, length, num_heads)
        for count in counts:
            plans = posed.plans(count, calibrated)
            for kind, seconds in (
                ("predicted", [plan.total_s for plan in plans]),
                ("measured", [run_s(posed, plan, count) for plan in plans]),
            ):
                yield kind, posed.name, count, *(1e3 * value for value in seconds)


def run_s(posed: Block, plan: StagePlan, num_devices: int) -> float:
    """Median seconds of the compiled plan on the first devices."""
    mesh = stage_mesh(jax.devices()[:num_devices])
    generator = np.random.default_rng(0)

    def drawn(shape: jax.ShapeDtypeStruct, placement: NamedSharding) -> jax.Array:
        placed: jax.Array = jax.device_put(generator.normal(1, 0.02, shape.shape).astype(shape.dtype), placement)
        return placed

    weights = [
        {name: drawn(shape, NamedSharding(mesh, specs[name])) for name, shape in layer.items()}
        for layer, specs in zip(posed.parameters, plan.parameter_specs, strict=True)
    ]
    inputs = {name: drawn(shape, whole(mesh)) for name, shape in posed.taken.items()}
    with jax.set_mesh(mesh):
        program = jax.jit(plan.apply, out_shardings=whole(mesh)).lower(weights, inputs).compile()
    return median_s(lambda: jax.block_until_ready(program(weights, inputs)))


def solved() -> Iterator[tuple[object, ...]]:
    costs = known_devices()["v100"]
    for config, num_layers in (("bert-1.3b", 24), ("bert-15b", 48), ("moe-1.3b", 16)):
        model = open_model(ModelSource(config=config, seed=1, sequence_length=2048, dtype="float16"))
        posed = block(config, 1, 2048, 16, "float16")
        layers = range(1, num_layers + 1)
        parameters = [model.layer_parameters(layer) for layer in layers]
        for kind, limit in (("shared out", None), ("no limit", math.inf)):
            began_s = perf_counter()
            plan = plan_stage(
                partial(apply_layers, model, layers), parameters, posed.taken, 4, costs, memory_bytes=limit
            )
            seconds = perf_counter() - began_s
            yield config, num_layers, kind, seconds, 1e3 * plan.total_s, dict(plan.collectives)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, nargs="+", default=[2, 4])
    given = parser.parse_args()
    # The number of devices is read when JAX is first used, the platform already at its import.
    os.environ.update(device_environment(num_devices=max(given.devices), platform="cpu"))
    jax.config.update("jax_platforms", "cpu")
    calibrated = calibrate(jax.devices())
    title("Sharded blocks at the papers' sizes, predicted")
    table(_HEADER, predicted(given.devices, calibrated))
    title("Small sharded blocks on CPU devices of one machine")
    table(_HEADER, measured(given.devices, calibrated))
    title("Planning many layers on 4 devices")
    table(("model", "layers", "weights", "seconds", "stage ms", "collectives"), solved())


if __name__ == "__main__":
    main()
