"""Where models are cut into stages: the dynamic program's cuts against equal ones, and how well costs are predicted.

`python -m benchmarks.cuts [--rounds 25] [--without-clock]`. Imbalance is stages · slowest − Σ stages. Two cuts made by
hand are beaten: as many blocks in each stage, the embedding in the first and the head in the last; and as
many layers in each stage, whatever they are. What runs, runs on one device of the host, stage after stage; latencies
are taken as multiples of a matrix product timed just before and after, because a shared host changes its speed.
"""

import argparse
import json
import math
import os
import statistics
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.problems import V100
from benchmarks.report import table, title
from services.core.device import DeviceCosts
from services.core.model import ModelSource
from services.core.profile import ParallelConfig
from services.parallel.architectures import open_model
from services.parallel.calibration import calibrate
from services.parallel.environment import device_environment
from services.parallel.inter_op.cut import equal_blocks, equal_layers, imbalance_s
from services.parallel.inter_op.layer_costs import (
    LayerCosts,
    choose_boundaries,
    estimated_layer_costs,
    measured_layer_costs,
)
from services.parallel.inter_op.refinement import RefinedModel
from services.parallel.known_devices import known_devices
from services.parallel.models.configs import shipped_config
from services.parallel.sharding import stage_mesh
from services.parallel.stage import Stage, compile_stage, load_stage

_PASSES = 9
_YARDSTICK_SIZE = 512
_PUBLISHED = ("bert-1.3b", "bert-2.6b", "bert-6.7b")
# The proportions of BERT-1.3B: 25 words of the vocabulary and one position to each hidden unit, 24 blocks.
_SMALL_BERT = {
    "vocab_size": 6400,
    "hidden_size": 256,
    "intermediate_size": 1024,
    "num_attention_heads": 4,
    "max_position_embeddings": 256,
}
_SMALL_MOE = {"num_hidden_layers": 18, "vocab_size": 8000, "expert_intermediate_size": 1536, "intermediate_size": 1536}


@dataclass(frozen=True, slots=True)
class _Subject:
    name: str
    config: Mapping[str, Any]
    sequence_length: int
    num_stages: tuple[int, ...]

    def source(self, dtype: str) -> ModelSource:
        return ModelSource(config=json.dumps(self.config), sequence_length=self.sequence_length, dtype=dtype)


def large() -> Iterator[_Subject]:
    for length in (2048, 1024):
        yield _Subject(f"BERT-1.3B, {length} tokens", shipped_config("bert-1.3b"), length, (2, 4, 8))
    for name in ("moe-1.3b", "moe-2.4b"):
        for blocks in (16, 14, 18):
            config = {**shipped_config(name), "num_hidden_layers": blocks}
            yield _Subject(f"{name}, {blocks} blocks", config, 2048, (4, 8))


def small() -> Iterator[_Subject]:
    bert = {**shipped_config("bert-1.3b"), **_SMALL_BERT}
    yield _Subject("BERT, hidden 256, vocabulary 6400, 24 blocks", bert, 256, (2, 4, 8))
    moe = {**shipped_config("moe-small"), **_SMALL_MOE}
    yield _Subject("MoE, hidden 192, 18 blocks", moe, 256, (4, 8))


def cuts(model: RefinedModel, coarse_layers: int, costs: LayerCosts, num_stages: int) -> dict[str, tuple[int, ...]]:
    """Boundaries in the layers of `model`, by the name of the cut."""
    return {
        "blocks": model.refined_boundaries(equal_blocks(coarse_layers, num_stages)),
        "layers": model.refined_boundaries(equal_layers(coarse_layers, num_stages)),
        "program": choose_boundaries(costs, num_stages),
    }


def compared(imbalance: Mapping[str, float]) -> tuple[object, ...]:
    """Milliseconds of each cut; how much lower the program's is than the better of the others, and than `layers`."""
    rivals = min(imbalance["blocks"], imbalance["layers"]), imbalance["layers"]
    lower = (f"{100 * (1 - imbalance['program'] / rival):.0f} %" for rival in rivals)
    return *(1e3 * seconds for seconds in imbalance.values()), *lower


def estimated_rows(costs: DeviceCosts) -> Iterator[tuple[object, ...]]:
    for subject in large():
        coarse = open_model(subject.source("float16"))
        model = RefinedModel(coarse)
        layers = estimated_layer_costs(model, 1, costs)
        for num_stages in subject.num_stages:
            found = cuts(model, coarse.num_layers, layers, num_stages)
            imbalance = {name: imbalance_s(layers.stage_latency_s(cut)) for name, cut in found.items()}
            yield subject.name, num_stages, *compared(imbalance)


def overhead_rows(costs: DeviceCosts) -> Iterator[tuple[object, ...]]:
    """Ours beside the published ones, in milliseconds, as the paper splits them."""
    for name in _PUBLISHED:
        model = RefinedModel(open_model(ModelSource(config=name, sequence_length=2048, dtype="float16")))
        single = float(estimated_layer_costs(model, 1, costs).latency_s.sum())
        published_single = V100[name].single_device_latency_s()
        yield name, "1x1", "latency", 1e3 * single, 1e3 * published_single
        for inter_op in (2, 4, 8):
            layers = estimated_layer_costs(model, 1, costs)
            ours = layers.stage_latency_s(choose_boundaries(layers, inter_op))
            published = V100[name].at(ParallelConfig(inter_op, 1)).stage_latency_s
            where = f"{inter_op}x1"
            yield name, where, "communication", 1e3 * (sum(ours) - single), 1e3 * (sum(published) - published_single)
            yield name, where, "imbalance", 1e3 * imbalance_s(ours), 1e3 * imbalance_s(published)
        four = float(estimated_layer_costs(model, 4, costs).latency_s.sum())
        (published_four,) = V100[name].at(ParallelConfig(1, 4)).stage_latency_s
        yield name, "1x4", "communication", 1e3 * (four - single / 4), 1e3 * (published_four - published_single / 4)


def stages_of(
    model: RefinedModel, boundaries: Sequence[int], devices: Sequence[jax.Device], costs: DeviceCosts
) -> list[Stage]:
    """Loaded and compiled for single requests."""
    stages, takes = [], model.input_shapes(1)
    for start, stop in pairwise(boundaries):
        loaded, gives = load_stage(model, range(start, stop), stage_mesh(devices), takes, costs)
        stages.append(compile_stage(loaded, model, {1: takes}, costs)[0])
        takes = gives
    return stages


@jax.jit
def yardstick(matrix: jax.Array) -> jax.Array:
    return matrix @ matrix @ matrix @ matrix


def yardstick_s() -> float:
    began_s = time.perf_counter()
    yardstick(jnp.ones((_YARDSTICK_SIZE, _YARDSTICK_SIZE))).block_until_ready()
    return time.perf_counter() - began_s


def timed(stages: Sequence[Stage], activation: Any) -> tuple[list[float], list[float]]:
    """Seconds of every stage, and those of the yardstick around it."""
    seconds, around_s = [], [yardstick_s()]
    for stage in stages:
        began_s = time.perf_counter()
        activation = stage.run(stage.place(activation))
        seconds.append(time.perf_counter() - began_s)
        around_s.append(yardstick_s())
    return seconds, [(before + after) / 2 for before, after in pairwise(around_s)]


def measured_stages_s(pipelines: Mapping[str, Sequence[Stage]], activation: Any, rounds: int) -> dict[str, list[float]]:
    """Latency of every stage, the median of its multiples of the yardstick; the pipelines take turns."""
    multiples: dict[str, list[list[float]]] = {name: [] for name in pipelines}
    unit_s = math.inf
    for _ in range(rounds):
        for name, stages in pipelines.items():
            seconds, around_s = timed(stages, activation)
            multiples[name].append([stage_s / unit for stage_s, unit in zip(seconds, around_s, strict=True)])
            unit_s = min(unit_s, *around_s)
    return {name: (np.median(runs, axis=0) * unit_s).tolist() for name, runs in multiples.items()}


def quickest(passes: Sequence[LayerCosts]) -> LayerCosts:
    """Of every layer the quickest: a host that others share has slow spells."""
    first, *_ = passes
    latency_s = np.min([costs.latency_s for costs in passes], axis=0)
    entry_s = np.min([costs.entry_s for costs in passes], axis=0)
    return LayerCosts(latency_s, entry_s, first.weight_bytes, first.activation_bytes)


def errors(predicted_s: Iterable[float], measured_s: Iterable[float]) -> list[float]:
    return [abs(ours / clock - 1) for ours, clock in zip(predicted_s, measured_s, strict=True)]


def clock_rows(costs: DeviceCosts, rounds: int, predictions: list[tuple[object, ...]]) -> Iterator[tuple[object, ...]]:
    """Imbalance by the clock; appends to `predictions` how far off the stages' latencies were."""
    devices = jax.devices()
    for subject in small():
        coarse = open_model(subject.source("float32"))
        model = RefinedModel(coarse)
        by_clock = quickest([measured_layer_costs(model, devices, 1, costs) for _ in range(_PASSES)])
        by_model = estimated_layer_costs(model, 1, costs)
        predictions.append(
            (subject.name, "layers, cost model", *_figures(errors(by_model.latency_s, by_clock.latency_s)))
        )
        activation = model.prepare([model.example()])
        for num_stages in subject.num_stages:
            found = cuts(model, coarse.num_layers, by_clock, num_stages)
            pipelines = {name: stages_of(model, cut, devices, costs) for name, cut in found.items()}
            measured = measured_stages_s(pipelines, activation, rounds)
            yield subject.name, num_stages, *compared({name: imbalance_s(stage) for name, stage in measured.items()})
            for layers, name in ((by_clock, "measured layers"), (by_model, "cost model")):
                pairs = [errors(layers.stage_latency_s(found[cut]), measured[cut]) for cut in found]
                figures = _figures([error for pair in pairs for error in pair])
                predictions.append((subject.name, f"{num_stages} stages, {name}", *figures))
            for stage in (stage for stages in pipelines.values() for stage in stages):
                stage.free()


def _figures(found: Sequence[float]) -> tuple[str, str]:
    return f"{100 * statistics.median(found):.1f} %", f"{100 * max(found):.1f} %"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--without-clock", action="store_true")
    given = parser.parse_args()
    os.environ.update(device_environment(1, "cpu"))
    jax.config.update("jax_platforms", "cpu")
    v100 = known_devices()["v100"]
    header = (
        "model",
        "stages",
        "equal blocks ms",
        "equal layers ms",
        "program ms",
        "lower than both",
        "than equal layers",
    )
    title("Imbalance of the cuts, cost model of a V100")
    table(header, estimated_rows(v100))
    title("Overheads on V100s, ms: cost model beside the published profiles")
    table(("model", "config", "overhead", "cost model", "published"), overhead_rows(v100))
    if given.without_clock:
        return
    costs = calibrate(jax.devices())
    title("Imbalance of the cuts, measured")
    predictions: list[tuple[object, ...]] = []
    table(header, clock_rows(costs, given.rounds, predictions))
    title("Predicted latencies against the clock")
    table(("model", "what", "median error", "largest"), predictions)


if __name__ == "__main__":
    main()
