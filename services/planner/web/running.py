"""What runs now, as the page shows it."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from alpaserve.v1 import planner_pb2
from numpy.typing import NDArray

from services.core.deployment import Deployment
from services.core.errors import AlpaServeError
from services.core.model import RegisteredModel
from services.core.profile import Profiles
from services.core.spec import Cluster, ModelSpec, Spec
from services.infra.store.arrivals import ArrivalStore
from services.infra.store.members import MemberStore, WorkerRecord
from services.infra.store.placements import PlacementStore
from services.pages.placement_picture import Labels, PlacementPicture, placement_picture
from services.planner.catalog import Catalog
from services.planner.cluster import LiveCluster
from services.planner.status import WINDOW_S, StatusReader


@dataclass(frozen=True, slots=True, eq=False)
class Running:
    """The placement, who carries it, and the models that may be asked for."""

    deployment: Deployment
    workers: tuple[WorkerRecord, ...]
    models: Mapping[str, RegisteredModel]
    profiles: Profiles | None

    @property
    def num_devices(self) -> int:
        return sum(worker.num_devices for worker in self.workers)

    def picture(self) -> PlacementPicture | None:
        """None where there is nothing to draw; without memory where a profile or every worker is gone."""
        groups = self.deployment.groups
        if not self.models or not (groups or self.workers):
            return None
        held = [device for group in groups for device in group.devices]
        last = max([*held, *(device for worker in self.workers for device in worker.devices)])
        if self.workers:
            cluster = LiveCluster(self.workers)
            size, memory_bytes = cluster.devices_per_node, cluster.memory_bytes
        else:
            size, memory_bytes = last + 1, 1
        models = tuple(ModelSpec(model.name, model.profile) for model in self.models.values())
        spec = Spec(Cluster(last + 1, size, memory_bytes), models)
        nodes = {device // size: worker.name for worker in self.workers for device in worker.devices}
        labels = Labels(tuple(group.name for group in groups), nodes)
        placement = self.deployment.placement()
        return placement_picture(placement, spec, self.profiles if self.workers else None, labels)


@dataclass(frozen=True, slots=True, eq=False)
class Figures:
    """Live figures of the last minute: the status, and arrivals (num_seconds,) by model."""

    status: planner_pb2.GetStatusResponse
    arrivals: Mapping[str, NDArray[np.int64]]

    @property
    def attainment(self) -> float | None:
        """Of all models together; None if nothing ended."""
        num_met = sum(model.num_met for model in self.status.models)
        num_ended = num_met + sum(model.num_missed for model in self.status.models)
        return num_met / num_ended if num_ended else None

    @property
    def rate_per_s(self) -> float:
        return float(sum(self.status.rate_per_s.values()))

    @property
    def num_in_flight(self) -> int:
        return sum(group.num_in_flight for group in self.status.groups)


class RunningReader:
    """Reads the store."""

    def __init__(
        self,
        placements: PlacementStore,
        members: MemberStore,
        catalog: Catalog,
        status: StatusReader,
        arrivals: ArrivalStore,
    ) -> None:
        self._placements = placements
        self._members = members
        self._catalog = catalog
        self._status = status
        self._arrivals = arrivals

    async def running(self) -> Running:
        """The last settled placement while a transition is under way."""
        current = await self._placements.current()
        if not current.is_settled:
            current = await self._settled_before(current)
        models = await self._catalog.models()
        try:
            profiles = await self._catalog.profiles_of(models.values())
        except AlpaServeError:
            profiles = None
        return Running(current, tuple(await self._members.workers()), models, profiles)

    async def figures(self) -> Figures:
        return Figures(await self._status.read(), await self._arrivals.window(WINDOW_S))

    async def is_changing(self) -> bool:
        """Whether a transition is under way."""
        return await self._placements.is_leased()

    async def versions(self, newest: int, count: int) -> list[Deployment]:
        """At most so many versions, the newest first, then one more to compare with: the empty one before all."""
        found = [await self._placements.at(version) for version in range(newest, max(newest - count - 1, 0), -1)]
        return found if len(found) > count else [*found, Deployment()]

    async def _settled_before(self, current: Deployment) -> Deployment:
        try:
            return await self._placements.settled_before(current.version)
        except AlpaServeError:
            return Deployment()
