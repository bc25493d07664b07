"""What a transition leads to, and all that running it needs."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from alpaserve.v1 import worker_pb2

from services.core.deployment import DeployedGroup, DeployedModel, Deployment
from services.core.difference import load_bytes
from services.core.errors import InvalidModel, InvalidPlacement, InvalidProfile, UnknownModel
from services.core.model import RegisteredModel
from services.core.phasing import Rates, plan_transition
from services.core.placement import Group, Placement, check_placement
from services.core.profile import ParallelConfig, Profiles
from services.core.spec import Spec
from services.core.steps import Schedule, StepCosts, schedule, step_times
from services.core.transition import Transition
from services.infra.wire import device_costs_message, model_message
from services.planner.cluster import LiveCluster


@dataclass(frozen=True, slots=True)
class Change:
    """A transition, the weight bytes that it loads over all devices, and its steps with what they should take."""

    transition: Transition
    load_bytes: int
    schedule: Schedule


@dataclass(frozen=True, slots=True)
class Target:
    """A placement on global device ids, with all that running it needs; `costs` are the steps' by worker, and `rates`
    what is asked of each model, where that is known."""

    placement: Placement
    cluster: LiveCluster
    models: Mapping[str, RegisteredModel]
    profiles: Profiles
    policy: str
    costs: Mapping[str, StepCosts] = field(default_factory=dict)
    rates: Rates | None = None

    def check(self) -> None:
        """Raises: InvalidPlacement, UnknownModel, UnknownProfile, DoesNotFit, InvalidModel."""
        if not self.placement.groups:
            raise InvalidPlacement("a placement needs at least one group")
        held = {model for group in self.placement.groups for model in group.models}
        for name in held:
            if name not in self.models:
                raise UnknownModel(f"no model {name!r} is registered")
        for group in self.placement.groups:
            worker = self.cluster.worker_of(group)
            for name in group.models:
                if worker.executor == "jax" and self.models[name].source is None:
                    raise InvalidModel(f"model {name!r} has no source: only emulated devices can serve it")
        if held:
            spec = Spec(self.cluster.as_numbered(), tuple(self.models[name].spec() for name in sorted(held)))
            check_placement(self.placement, spec, self.profiles)
        for name in held:
            deployed_model(self.models[name], self.profiles)

    def transition_from(self, running: Deployment) -> Transition:
        return plan_transition(running, self.placement, self.heaviest, self.cluster.memory_bytes, self.rates)

    def change(self, transition: Transition) -> Change:
        """What a transition to this target changes."""
        num_bytes = 0
        for index, model in transition.loads:
            config = self.placement.groups[index].config
            num_bytes += load_bytes(self.profiles[self.models[model].profile], config)
        return Change(transition, num_bytes, self.schedule(transition))

    def schedule(self, transition: Transition) -> Schedule:
        """The steps, each with what such steps took before. A drain should take what one request of its model does."""
        times = step_times(
            self._costs_at,
            self.heaviest,
            drained_s=lambda group, model, switched_s: switched_s + sum(group.replicas[model]),
            switch_s=max((costs.switch_s for costs in self.costs.values()), default=0.0),
        )
        return schedule(transition, times)

    def _costs_at(self, group: Group) -> StepCosts:
        return self.costs.get(self.cluster.worker_of(group).name, StepCosts())

    def heaviest(self, model: str, config: ParallelConfig) -> int:
        return self.profiles[self.models[model].profile].at(config).heaviest_stage_bytes

    def latency_s(self, model: str, config: ParallelConfig) -> tuple[float, ...]:
        return self.profiles.stage_latency_s(self.models[model].profile, config)

    def load_request(self, group: DeployedGroup, model: str) -> worker_pb2.LoadModelRequest:
        """All that a worker must know to run a model, and to predict how long that takes."""
        registered, profiles = self.models[model], self.profiles
        profile = profiles[registered.profile].at(group.config)
        costs = profiles.costs_of(registered.profile)
        return worker_pb2.LoadModelRequest(
            group=group.name,
            model=model_message(registered),
            stage_latency_s=self.latency_s(model, group.config),
            stage_weight_bytes=profile.stage_weight_bytes,
            request_overhead_s=profiles.overhead_s(registered.profile),
            larger_batches=[
                worker_pb2.BatchCost(
                    batch_size=size,
                    stage_latency_s=profiles.stage_latency_s(registered.profile, group.config, size),
                )
                for size in profiles[registered.profile].batch_sizes(group.config)
                if 1 < size <= self.placement.max_batch_size
            ],
            boundaries=profile.boundaries,
            device_costs=None if costs is None else device_costs_message(costs),
        )

    def deployed_models(self) -> dict[str, DeployedModel]:
        """Every registered model; one whose SLO its profile cannot tell is not placed, and has none."""
        deployed = {}
        for name, model in self.models.items():
            try:
                deployed[name] = deployed_model(model, self.profiles)
            except InvalidProfile:
                deployed[name] = DeployedModel(None, model.idempotent)
        return deployed


def deployed_model(model: RegisteredModel, profiles: Profiles) -> DeployedModel:
    """What routers must know of a model; without its profile a relative SLO says nothing yet."""
    if model.slo_s is None and model.profile not in profiles.models:
        return DeployedModel(None, model.idempotent)
    slo_s = model.spec().slo(profiles)
    return DeployedModel(None if math.isinf(slo_s) else slo_s, model.idempotent)
