"""One order: what is pruned, what is measured, what is estimated, and the profile that all this makes."""

import statistics
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import structlog

from services.core.device import DeviceCosts
from services.core.errors import DoesNotFit, InvalidArgument
from services.core.overheads import ALONE
from services.core.profile import ParallelConfig, StageProfile
from services.core.spec import Cluster
from services.infra.ray_cluster import answer
from services.infra.store.measurements import MeasurementStore
from services.profiler.bench import Trial
from services.profiler.benches import Benches, Place
from services.profiler.correction import Comparison, corrected
from services.profiler.order import Order
from services.profiler.path import overhead_s

log = structlog.get_logger()

TAKEN_OVER = "taken over from an interrupted order"
FAR = "links between nodes are taken to be as those within one"


@dataclass(frozen=True, slots=True)
class Pruned:
    """A config (at a batch size) that is left out, and why."""

    config: ParallelConfig
    reason: str


@dataclass(frozen=True, slots=True)
class Ground:
    """What an order is profiled on. `num_measurable` devices are at hand, 0 where everything is estimated;
    measurements are kept under `fingerprint`."""

    cluster: Cluster
    costs: DeviceCosts
    num_measurable: int
    repeats: tuple[int, int]
    fingerprint: str


class Session:
    """Goes through the configs of one order; `stages` and `overheads_s` are the outcome."""

    def __init__(
        self, cost_model: Any, benches: Benches, order: Order, ground: Ground, measurements: MeasurementStore
    ) -> None:
        self._cost_model = cost_model
        self._benches = benches
        self._order = order
        self._ground = ground
        self._measurements = measurements
        self._estimates: dict[tuple[ParallelConfig, int], StageProfile] = {}
        self._comparisons: list[Comparison] = []
        self.stages: list[StageProfile] = []

    async def events(self) -> AsyncIterator[StageProfile | Pruned]:
        """Every entry as it is had, measured ones first. Raises: DoesNotFit if everything is pruned."""
        await answer(
            self._cost_model.open.remote(self._order.source, self._ground.costs, self._ground.cluster.memory_bytes)
        )
        async for pruned in self._prune():
            yield pruned
        for config in self._fitting(is_measurable=True):
            async for event in self._measure(config):
                yield event
        for config in self._fitting(is_measurable=False):
            for batch_size in self._batch_sizes(config):
                self.stages.append(self._estimated(config, batch_size))
                yield self.stages[-1]
        if not self.stages:
            raise DoesNotFit(f"no config of model {self._order.model.name!r} is left")

    async def overhead_s(self) -> float:
        """What a request takes outside the stages: the median over the measured configs; without any, the way alone."""
        known = await self._measurements.overheads_s(self._ground.fingerprint)
        if known and self._comparisons:
            return statistics.median(known)
        return await self._timed_overhead_s(await self._benches.open(1))

    async def reference_latency_s(self) -> float:
        """What one device would take for one request, by the cost model, whether it holds the model or not."""
        uncut = await answer(self._cost_model.cut.remote(ALONE))
        return corrected(await answer(self._cost_model.estimate.remote(ALONE, 1, uncut)), self._comparisons).latency_s

    async def _prune(self) -> AsyncIterator[Pruned]:
        """Estimate what fits. What is too much for a batch is too much for a larger one."""
        for config in self._order.configs_on(self._ground.cluster):
            for batch_size in sorted(set(self._order.batch_sizes)):
                try:
                    estimate = await answer(self._cost_model.estimate.remote(config, batch_size))
                except (DoesNotFit, InvalidArgument) as refusal:
                    yield self._pruned(config, batch_size, refusal)
                    break
                self._estimates[config, batch_size] = estimate

    async def _measure(self, config: ParallelConfig) -> AsyncIterator[StageProfile | Pruned]:
        taken = await self._measurements.all(self._ground.fingerprint)
        missing = []
        for batch_size in self._batch_sizes(config):
            stage = taken.get((config, batch_size))
            if stage is None:
                missing.append(batch_size)
            else:
                await self._note(stage)
                self.stages.append(replace(stage, note=f"{stage.note}; {TAKEN_OVER}"))
                yield self.stages[-1]
        cuts = [stage.boundaries for (known, _), stage in taken.items() if known == config]
        if missing:
            place = await self._benches.open(config.num_devices)
            await self._load(place, config, missing, cuts)
            async for event in self._measured(place.bench, config, missing):
                yield event

    async def _measured(
        self, bench: Any, config: ParallelConfig, batch_sizes: Sequence[int]
    ) -> AsyncIterator[StageProfile | Pruned]:
        for batch_size in batch_sizes:
            try:
                stage = await self._measured_once(bench, batch_size)
            except DoesNotFit as refusal:
                yield self._pruned(config, batch_size, refusal)
            else:
                self.stages.append(stage)
                yield stage

    async def _load(
        self, place: Place, config: ParallelConfig, batch_sizes: Sequence[int], cuts: Sequence[tuple[int, ...]]
    ) -> None:
        """Load the config, cut as what is known of it was, and sharded for single requests, as it is served."""
        ground = self._ground
        boundaries = cuts[0] if cuts else await answer(self._cost_model.cut.remote(config))
        memory_bytes = ground.cluster.memory_bytes
        sizes = tuple(sorted({1, *batch_sizes}))
        trial = Trial(self._order.source, config, tuple(boundaries), sizes, ground.costs, memory_bytes)
        await answer(place.bench.load.remote(trial))
        log.info("config_loaded", model=self._order.model.name, config=str(config), boundaries=boundaries)
        await self._measurements.put_overhead(ground.fingerprint, config, await self._timed_overhead_s(place))

    async def _measured_once(self, bench: Any, batch_size: int) -> StageProfile:
        """One more measurement, kept at once."""
        stage: StageProfile = await answer(bench.measure.remote(batch_size, *self._ground.repeats))
        flops = await answer(self._cost_model.flops.remote(batch_size))
        peak = self._ground.costs.flops_per_s
        share = flops / (stage.latency_s * stage.config.intra_op * peak)
        stage = replace(stage, note=f"{stage.note}; {share:.1%} of {peak:.3g} FLOP/s a device at work")
        await self._measurements.put(self._ground.fingerprint, stage)
        await self._note(stage)
        log.info("config_measured", model=self._order.model.name, config=str(stage.config), batch_size=batch_size)
        return stage

    async def _note(self, stage: StageProfile) -> None:
        """Hold a measurement against the estimate of the same cut."""
        estimate = await answer(self._cost_model.estimate.remote(stage.config, stage.batch_size, stage.boundaries))
        self._comparisons.append(Comparison(stage, estimate))

    async def _timed_overhead_s(self, place: Place) -> float:
        return await overhead_s(
            place.relay, place.way, await answer(self._cost_model.example.remote()), self._ground.repeats
        )

    def _estimated(self, config: ParallelConfig, batch_size: int) -> StageProfile:
        estimate = self._estimates[config, batch_size]
        if config.num_devices > self._ground.cluster.devices_per_node:
            estimate = replace(estimate, note=FAR)
        return corrected(estimate, self._comparisons)

    def _fitting(self, *, is_measurable: bool) -> list[ParallelConfig]:
        most = self._ground.num_measurable
        configs = dict.fromkeys(config for config, _ in self._estimates)
        return [config for config in configs if (config.num_devices <= most) == is_measurable]

    def _batch_sizes(self, config: ParallelConfig) -> list[int]:
        return [size for known, size in self._estimates if known == config]

    def _pruned(self, config: ParallelConfig, batch_size: int, refusal: Exception) -> Pruned:
        log.info("config_pruned", model=self._order.model.name, config=str(config), reason=str(refusal))
        return Pruned(config, f"from batch {batch_size}: {refusal}")
