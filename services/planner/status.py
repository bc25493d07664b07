"""Workers, groups and their queues, as Redis knows them."""

from alpaserve.v1 import planner_pb2

from services.core.deployment import DeployedGroup
from services.infra.store.arrivals import ArrivalStore
from services.infra.store.members import MemberStore
from services.infra.store.placements import PlacementStore
from services.infra.store.queues import QueueStore
from services.infra.wire import deployed_group_message

RATE_WINDOW_S = 60


class StatusReader:
    """Reads the whole picture."""

    def __init__(
        self, placements: PlacementStore, members: MemberStore, queues: QueueStore, arrivals: ArrivalStore
    ) -> None:
        self._placements = placements
        self._members = members
        self._queues = queues
        self._arrivals = arrivals

    async def read(self) -> planner_pb2.GetStatusResponse:
        deployment = await self._placements.current()
        counts = await self._arrivals.window(RATE_WINDOW_S)
        return planner_pb2.GetStatusResponse(
            placement_version=deployment.version,
            workers=await self._workers(),
            groups=await self._groups(deployment.groups),
            rate_per_s={model: float(row.sum()) / RATE_WINDOW_S for model, row in counts.items()},
        )

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

    async def _groups(self, groups: tuple[DeployedGroup, ...]) -> list[planner_pb2.GroupStatus]:
        states = await self._queues.get([group.name for group in groups])
        statuses = []
        for group in groups:
            status = planner_pb2.GroupStatus(group=deployed_group_message(group))
            state = states.get(group.name)
            if state is not None:
                status.is_alive = True
                status.num_in_flight = state.num_in_flight
                status.free_in_s = max(0.0, state.free_in_s[-1])
            statuses.append(status)
        return statuses
