"""The problem that a request poses: what it does not bring is taken from the running system."""

from collections.abc import Callable, Sequence

from alpaserve.v1 import planner_pb2, workload_pb2

from services.core.model import RegisteredModel
from services.core.problem import Problem, pose
from services.core.profile import Profiles
from services.core.spec import Cluster, ModelSpec, Spec
from services.core.workload import Workload
from services.infra.wire import to_model, to_profiles
from services.planner.catalog import Catalog
from services.planner.cluster import LiveCluster
from services.planner.workloads import WorkloadSource

Request = planner_pb2.PlanRequest | planner_pb2.SimulateRequest


class Posing:
    """Requests to problems."""

    def __init__(self, catalog: Catalog, workloads: WorkloadSource) -> None:
        self._catalog = catalog
        self._workloads = workloads

    async def live_problem(self, request: Request, live: LiveCluster) -> Problem:
        """The problem on the workers' devices, no group reaching over a node. Raises: as `problem`."""
        cluster = live.for_planning()
        return await self._problem(request, cluster, live.for_model, cluster.devices_per_node)

    async def problem(self, request: Request, cluster: Cluster) -> Problem:
        """The problem on `cluster`.

        Raises: InvalidArgument and its children, UnknownProfile, NotPlaced without models.
        """
        return await self._problem(request, cluster, lambda model: model, None)

    async def registered(self, cluster: Cluster, workload: Workload | None = None) -> Problem:
        """Every registered model on `cluster` under a workload, by default the live arrivals. Raises: as `problem`."""
        models = list((await self._catalog.models()).values())
        profiles = await self._catalog.profiles_of(models)
        spec = Spec(cluster, tuple(model.spec() for model in models))
        if workload is None:
            workload = await self._workloads.make(workload_pb2.Workload(), spec.names, 0)
        return pose(spec, profiles, workload)

    async def _problem(
        self, request: Request, cluster: Cluster, planned: Callable[[ModelSpec], ModelSpec], most_devices: int | None
    ) -> Problem:
        models = [to_model(model) for model in request.models] or list((await self._catalog.models()).values())
        profiles = await self._profiles(request, models)
        if most_devices is not None:
            profiles = profiles.within(most_devices)
        spec = Spec(cluster, tuple(planned(model.spec()) for model in models))
        workload = await self._workloads.make(request.workload, spec.names, request.seed)
        return pose(spec, profiles, workload)

    async def _profiles(self, request: Request, models: Sequence[RegisteredModel]) -> Profiles:
        if request.HasField("profiles"):
            return to_profiles(request.profiles)
        return await self._catalog.profiles_of(models)
