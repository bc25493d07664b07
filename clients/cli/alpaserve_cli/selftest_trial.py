"""The tiny model of a self-test: registered under a name for every group, profiled, placed, asked, and forgotten."""

import json
import uuid
from collections.abc import Iterable, Sequence
from contextlib import suppress

import numpy as np
from alpaserve.v1 import model_pb2, placement_pb2, planner_pb2, profiler_pb2
from alpaserve_client import Client, NotFound, PlannerClient, ProfilerClient
from numpy.typing import NDArray

from alpaserve_cli.failures import CommandError
from alpaserve_cli.placements import ranges

# As many heads as devices that a stage may have.
_CONFIG = {
    "model_type": "bert",
    "vocab_size": 64,
    "hidden_size": 64,
    "num_attention_heads": 8,
    "intermediate_size": 128,
    "max_position_embeddings": 32,
    "type_vocab_size": 2,
}
_INPUTS = {"input_ids": np.arange(1, 9, dtype=np.int32)}
_SEQUENCE_LENGTH = 16
_REPEATS = 3
# Sums of another number of shards.
_TOLERANCE = 1e-3

Groups = Sequence[placement_pb2.Group]


class Trial:
    """One tiny model under a name for each group, from its registration until it is forgotten. What a method cannot do
    it raises, as AlpaServeClientError or CommandError; else it tells what it found."""

    def __init__(self, planner: PlannerClient, profiler: ProfilerClient, router: Client, timeout_s: float) -> None:
        self._planner, self._profiler, self._router = planner, profiler, router
        self._timeout_s = timeout_s
        self._profile = f"selftest-{uuid.uuid4().hex[:8]}"
        self._before = placement_pb2.Placement()
        self._wanted = placement_pb2.Placement()
        self._applied: dict[str, placement_pb2.Group] = {}
        self._answer: dict[str, NDArray[np.generic]] | None = None

    @property
    def models(self) -> list[str]:
        """One for each group."""
        return [f"{self._profile}-{number}" for number in range(len(self._wanted.groups))]

    def look(self) -> str:
        """At what runs, through the store."""
        self._before.CopyFrom(self._planner.placement().placement)
        workers = self._planner.status().workers
        if not workers:
            raise CommandError("no worker has announced itself")
        self._wanted.CopyFrom(self._before)
        self._wanted.groups.extend(unused(workers, self._before.groups))
        for model, group in zip(self.models, self._wanted.groups, strict=True):
            group.models.append(model)
        named = ", ".join(f"{worker.name} ({worker.num_devices} {worker.executor})" for worker in workers)
        return f"placement {self._before.version}; workers {named}"

    def register(self) -> str:
        depth = max(group.config.inter_op for group in self._wanted.groups)
        config = json.dumps(_CONFIG | {"num_hidden_layers": depth})
        source = model_pb2.ModelSource(config_json=config, sequence_length=_SEQUENCE_LENGTH)
        for model in self.models:
            self._planner.register_model(model_pb2.Model(name=model, profile=self._profile, source=source))
        if missing := set(self.models) - {model.name for model in self._planner.list_models()}:
            raise CommandError(f"registered and not listed: {', '.join(sorted(missing))}")
        return f"{len(self.models)} names of a model of {depth} layers"

    def profile(self) -> str:
        configs = {(group.config.inter_op, group.config.intra_op): group.config for group in self._wanted.groups}
        order = profiler_pb2.ProfileRequest(
            model=self.models[0],
            configs=configs.values(),
            num_repeats=_REPEATS,
            num_devices=max(len(group.devices) for group in self._wanted.groups),
        )
        found = []
        for response in self._profiler.profile(order, timeout_s=self._timeout_s):
            if response.HasField("pruned"):
                raise CommandError(f"{_shape(response.pruned.config)}: {response.pruned.reason}")
            if response.HasField("measured"):
                found.append(f"{_shape(response.measured.config)} {response.measured.source}")
        return ", ".join(found)

    def place(self) -> str:
        response = self._planner.apply(self._wanted, expected_version=self._before.version, timeout_s=self._timeout_s)
        placed = response.applied.placement
        self._applied = {model: group for group in placed.groups for model in group.models if model in self.models}
        return f"placement {placed.version}: {len(response.diff.formed)} groups formed, {response.diff.num_loads} loads"

    def ask(self, model: str) -> str:
        """On its group, which must say the same as the others."""
        group = self._applied[model]
        result = self._router.infer(model, _INPUTS, timeout_s=self._timeout_s)
        if result.group != group.name:
            raise CommandError(f"placed on {group.name}, answered by {result.group}")
        self._compare(dict(result.outputs))
        where = f"{group.worker} devices {ranges(group.devices)} as {_shape(group.config)}"
        return f"{where}: ran {result.execution_time_s:.4f} s"

    def _compare(self, answer: dict[str, NDArray[np.generic]]) -> None:
        if self._answer is None:
            self._answer = answer
        for name, array in answer.items():
            if not np.isfinite(array).all():
                raise CommandError(f"output {name} is not finite")
            if name in self._answer and not np.allclose(array, self._answer[name], atol=_TOLERANCE):
                raise CommandError(f"output {name} differs from that of {self.models[0]}")

    def restore(self) -> str:
        """What ran before, also where only a part of the trial was done."""
        running = self._planner.placement().placement
        restored = without(running, set(self.models), self._before.groups)
        if restored != running:
            self._planner.apply(restored, expected_version=running.version, timeout_s=self._timeout_s)
        for model in self.models:
            with suppress(NotFound):
                self._planner.remove_model(model)
        with suppress(NotFound):
            self._profiler.remove_profile(self._profile)
        running = self._planner.placement().placement
        if not self._before.groups:
            return f"placement {running.version} holds no model, as before"
        if _content(running) != _content(self._before):
            raise CommandError(f"placement {running.version} is not {self._before.version}: another caller changed it")
        return f"placement {running.version} is {self._before.version} again"


def unused(workers: Iterable[planner_pb2.WorkerStatus], groups: Groups) -> list[placement_pb2.Group]:
    """A group of each worker's devices that are in none, a stage on each device."""
    used = {device for group in groups for device in group.devices}
    found = []
    for worker in workers:
        span = range(worker.first_device, worker.first_device + worker.num_devices)
        if devices := [device for device in span if device not in used]:
            config = model_pb2.ParallelConfig(inter_op=len(devices), intra_op=1)
            found.append(placement_pb2.Group(config=config, devices=devices))
    return found


def without(placement: placement_pb2.Placement, models: set[str], kept: Groups) -> placement_pb2.Placement:
    """The placement without these models, and of the groups that held nothing else only those that are `kept`; all, if
    none are: a placement needs a group."""
    rest = placement_pb2.Placement()
    rest.CopyFrom(placement)
    del rest.groups[:]
    known = [tuple(group.devices) for group in kept]
    for group in placement.groups:
        others = [model for model in group.models if model not in models]
        if others or not group.models or not known or tuple(group.devices) in known:
            rest.groups.add().CopyFrom(group)
            rest.groups[-1].models[:] = others
    return rest


def _content(placement: placement_pb2.Placement) -> list[tuple[object, ...]]:
    """All that a caller decides about a placement."""
    return [
        (placement.dispatch, placement.max_batch_size),
        *((_shape(group.config), tuple(group.devices), tuple(sorted(group.models))) for group in placement.groups),
    ]


def _shape(config: model_pb2.ParallelConfig) -> str:
    return f"{config.inter_op}x{config.intra_op}"
