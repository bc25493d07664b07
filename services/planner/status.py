"""Routers, workers, groups and models as they are now, as Redis knows them."""

from collections.abc import Mapping

from alpaserve.v1 import planner_pb2

from services.core.deployment import DeployedGroup, Deployment
from services.infra.store.activity import Activity, ActivityStore, Deadlines
from services.infra.store.arrivals import ArrivalStore
from services.infra.store.members import MemberStore
from services.infra.store.placements import PlacementStore
from services.infra.store.queues import QueueStore
from services.infra.wire import deployed_group_message

WINDOW_S = 60


class StatusReader:
    """Reads the whole picture."""

    def __init__(
        self,
        placements: PlacementStore,
        members: MemberStore,
        queues: QueueStore,
        arrivals: ArrivalStore,
        activity: ActivityStore,
    ) -> None:
        self._placements = placements
        self._members = members
        self._queues = queues
        self._arrivals = arrivals
        self._activity = activity

    async def read(self) -> planner_pb2.GetStatusResponse:
        deployment = await self._placements.current()
        window = await self._arrivals.window(WINDOW_S)
        arrivals = {model: int(row.sum()) for model, row in window.items()}
        activity = await self._activity.window(WINDOW_S)
        return planner_pb2.GetStatusResponse(
            placement_version=deployment.version,
            workers=await self._workers(),
            groups=await self._groups(deployment.groups, activity),
            rate_per_s={model: count / WINDOW_S for model, count in arrivals.items()},
            models=model_statuses(deployment, arrivals, activity.deadlines),
            routers=await self._routers(),
        )

    async def _routers(self) -> list[planner_pb2.RouterStatus]:
        versions = await self._members.router_versions()
        return [
            planner_pb2.RouterStatus(name=name, placement_version=version) for name, version in sorted(versions.items())
        ]

    async def _workers(self) -> list[planner_pb2.WorkerStatus]:
        return [
            planner_pb2.WorkerStatus(
                name=worker.name,
                address=worker.address,
                executor=worker.executor,
                first_device=worker.first_device,
                num_devices=worker.num_devices,
                memory_bytes=worker.memory_bytes,
            )
            for worker in await self._members.workers()
        ]

    async def _groups(self, groups: tuple[DeployedGroup, ...], activity: Activity) -> list[planner_pb2.GroupStatus]:
        states = await self._queues.get([group.name for group in groups])
        statuses = []
        for group in groups:
            status = planner_pb2.GroupStatus(group=deployed_group_message(group))
            state, busyness = states.get(group.name), activity.busyness.get(group.name)
            if busyness is not None:
                status.stage_busy_share.extend(busyness.shares)
            if state is not None:
                status.is_alive = True
                status.num_in_flight = state.num_in_flight
                status.free_in_s = max(0.0, state.free_in_s[-1])
            statuses.append(status)
        return statuses


def model_statuses(
    deployment: Deployment, arrivals: Mapping[str, int], deadlines: Mapping[str, Deadlines]
) -> list[planner_pb2.ModelStatus]:
    """One for each model that is placed, or was asked for of late."""
    placed = {model for group in deployment.groups for model in group.replicas}
    statuses = []
    for name in sorted(placed | arrivals.keys() | deadlines.keys()):
        count, ended = arrivals.get(name, 0), deadlines.get(name, Deadlines())
        status = planner_pb2.ModelStatus(
            name=name,
            num_arrivals=count,
            rate_per_s=count / WINDOW_S,
            num_met=ended.num_met,
            num_missed=ended.num_missed,
            attainment=ended.attainment,
        )
        statuses.append(status)
    return statuses
