"""Profiles by the two passes' cost model, and the cuts of the inter-op pass. Runs on the bench: it imports JAX."""

from itertools import pairwise

import jax
import numpy as np
from numpy.typing import NDArray

from services.core.device import DeviceCosts
from services.core.errors import DoesNotFit
from services.core.model import ModelSource
from services.core.profile import ParallelConfig, StageProfile
from services.parallel.footprint import Footprint, footprints
from services.parallel.inter_op.layer_costs import (
    LayerCosts,
    choose_boundaries,
    estimated_layer_costs,
    measured_layer_costs,
)
from services.parallel.inter_op.refinement import open_refined
from services.parallel.model import Inputs


class Estimator:
    """One model on devices of these costs, which offer `memory_bytes` each."""

    def __init__(self, source: ModelSource, costs: DeviceCosts, memory_bytes: int) -> None:
        self._model = open_refined(source)
        self._costs = costs
        self._memory_bytes = memory_bytes
        self._estimated: dict[tuple[int, int], LayerCosts] = {}
        self._measured: dict[int, LayerCosts] = {}
        self._footprints: dict[int, tuple[Footprint, ...]] = {}

    def estimate(self, config: ParallelConfig, batch_size: int, boundaries: tuple[int, ...] = ()) -> StageProfile:
        """What the config would cost, under the cut that is best by the same figures if none is given.

        Raises, if none is given:
            InvalidArgument: more stages than the model has layers.
            DoesNotFit: a device cannot hold its weights, or these and the activations.
        """
        cut = boundaries or self._best_cut(self._layers(config.intra_op, 1), config)
        layers = self._layers(config.intra_op, batch_size)
        weights = tuple(round(weight) for weight in layers.stage_weight_bytes(cut))
        activations = self._activation_bytes(cut, config.intra_op, batch_size)
        if not boundaries:
            check_memory(weights, activations, self._memory_bytes)
        return StageProfile(
            config=config,
            batch_size=batch_size,
            stage_latency_s=layers.stage_latency_s(cut),
            stage_weight_bytes=weights,
            stage_activation_bytes=activations,
            source="estimated",
            boundaries=cut,
        )

    def cut(self, config: ParallelConfig) -> tuple[int, ...]:
        """The best cut by layers that are measured on the devices here. Raises: as `estimate`."""
        if config.inter_op == 1:
            return 0, self._model.num_layers
        if config.intra_op not in self._measured:
            self._measured[config.intra_op] = measured_layer_costs(
                self._model, jax.devices(), config.intra_op, self._costs
            )
        return self._best_cut(self._measured[config.intra_op], config)

    def example(self) -> Inputs:
        """A request of full length."""
        return self._model.example()

    def flops(self, batch_size: int) -> float:
        """Of one execution of the whole model."""
        return sum(footprint.flops for footprint in self._layer_footprints(batch_size))

    def _best_cut(self, layers: LayerCosts, config: ParallelConfig) -> tuple[int, ...]:
        """Weights have what the activations of a single request leave."""
        activations = int(self._held_bytes(config.intra_op, 1).max())
        try:
            return choose_boundaries(layers, config.inter_op, self._memory_bytes - activations)
        except DoesNotFit as refusal:
            raise DoesNotFit(f"{refusal}, beside {activations:,} of activations") from None

    def _layers(self, intra_op: int, batch_size: int) -> LayerCosts:
        if (intra_op, batch_size) not in self._estimated:
            found = estimated_layer_costs(self._model, intra_op, self._costs, batch_size)
            self._estimated[intra_op, batch_size] = found
        return self._estimated[intra_op, batch_size]

    def _activation_bytes(self, cut: tuple[int, ...], intra_op: int, batch_size: int) -> tuple[int, ...]:
        """Of each stage's fullest layer."""
        held = self._held_bytes(intra_op, batch_size)
        return tuple(round(float(held[start:stop].max())) for start, stop in pairwise(cut))

    def _held_bytes(self, intra_op: int, batch_size: int) -> NDArray[np.float64]:
        """Activations of each layer on a device `(num_layers,)`: what it takes is whole there, its inside is counted as
        if it were split evenly."""
        whole = self._layers(intra_op, batch_size).activation_bytes
        peaks = np.array([footprint.activation_bytes for footprint in self._layer_footprints(batch_size)])
        held: NDArray[np.float64] = whole + np.maximum(peaks - whole, 0) / intra_op
        return held

    def _layer_footprints(self, batch_size: int) -> tuple[Footprint, ...]:
        if batch_size not in self._footprints:
            self._footprints[batch_size] = footprints(self._model, batch_size)
        return self._footprints[batch_size]


def check_memory(weights: tuple[int, ...], activations: tuple[int, ...], memory_bytes: int) -> None:
    """Raises: DoesNotFit, with the figures, if the fullest device has more than `memory_bytes`."""
    needed = [weight + activation for weight, activation in zip(weights, activations, strict=True)]
    stage = needed.index(max(needed))
    if needed[stage] > memory_bytes:
        raise DoesNotFit(
            f"stage {stage} needs {weights[stage]:,} bytes of weights and {activations[stage]:,} of activations "
            f"on a device, {memory_bytes:,} are allowed"
        )
