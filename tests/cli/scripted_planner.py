"""A planner and a profiler of the tests: they keep what they are given, in memory."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import grpc
from alpaserve.v1 import (
    model_pb2,
    placement_pb2,
    planner_pb2,
    planner_pb2_grpc,
    profile_pb2,
    profiler_pb2,
    profiler_pb2_grpc,
)


@dataclass
class ScriptedPlanner(planner_pb2_grpc.PlannerServicer):
    """`history` holds every placement that was made the running one."""

    history: list[placement_pb2.Placement] = field(default_factory=list)
    models: dict[str, model_pb2.Model] = field(default_factory=dict)
    plans: list[planner_pb2.PlanRequest] = field(default_factory=list)
    explorations: list[planner_pb2.ExploreRequest] = field(default_factory=list)

    def run(self, placement: placement_pb2.Placement) -> planner_pb2.PlacementApplied:
        running = placement_pb2.Placement()
        running.CopyFrom(placement)
        running.version = len(self.history) + 1
        self.history.append(running)
        return planner_pb2.PlacementApplied(placement=running, transition_s=0.5)

    def Plan(
        self, request: planner_pb2.PlanRequest, context: grpc.ServicerContext
    ) -> Iterator[planner_pb2.PlanResponse]:
        self.plans.append(request)
        placement = placement_pb2.Placement(groups=[GROUP], dispatch="earliest-free", policy="alpaserve")
        yield planner_pb2.PlanResponse(progress=planner_pb2.SearchProgress(num_simulations=1, attainment=0.5))
        plan = planner_pb2.PlanFound(placement=placement, attainment=0.75, num_simulations=2, search_s=0.25)
        plan.unplaced.add(model="m1", reason="no room")
        plan.diff.formed.add().CopyFrom(GROUP)
        yield planner_pb2.PlanResponse(plan=plan)
        if not request.validate_only:
            yield planner_pb2.PlanResponse(applied=self.run(placement))

    def Explore(
        self, request: planner_pb2.ExploreRequest, context: grpc.ServicerContext
    ) -> Iterator[planner_pb2.ExploreResponse]:
        self.explorations.append(request)
        for num_devices in request.grid.num_devices:
            cell = planner_pb2.Cell(policy="alpaserve", num_devices=num_devices, rate_scale=1, cv_scale=1)
            yield planner_pb2.ExploreResponse(cell=cell)

    def Simulate(
        self, request: planner_pb2.SimulateRequest, context: grpc.ServicerContext
    ) -> planner_pb2.SimulateResponse:
        return planner_pb2.SimulateResponse(attainment=0.5, num_requests=len(request.workload.arrivals.arrival_s))

    def ApplyPlan(
        self, request: planner_pb2.ApplyPlanRequest, context: grpc.ServicerContext
    ) -> planner_pb2.ApplyPlanResponse:
        if request.expected_version and request.expected_version != len(self.history):
            context.abort(grpc.StatusCode.ABORTED, f"version {len(self.history)} runs")
        return planner_pb2.ApplyPlanResponse(
            applied=self.run(request.placement), diff=planner_pb2.PlacementDiff(formed=request.placement.groups)
        )

    def GetPlacement(
        self, request: planner_pb2.GetPlacementRequest, context: grpc.ServicerContext
    ) -> planner_pb2.GetPlacementResponse:
        return planner_pb2.GetPlacementResponse(placement=self.history[(request.version or 0) - 1])

    def WatchPlacement(
        self, request: planner_pb2.WatchPlacementRequest, context: grpc.ServicerContext
    ) -> Iterator[planner_pb2.WatchPlacementResponse]:
        for placement in self.history:
            yield planner_pb2.WatchPlacementResponse(placement=placement)

    def RollbackPlacement(
        self, request: planner_pb2.RollbackPlacementRequest, context: grpc.ServicerContext
    ) -> planner_pb2.RollbackPlacementResponse:
        version = request.version or len(self.history) - 1
        return planner_pb2.RollbackPlacementResponse(applied=self.run(self.history[version - 1]))

    def RegisterModel(
        self, request: planner_pb2.RegisterModelRequest, context: grpc.ServicerContext
    ) -> planner_pb2.RegisterModelResponse:
        self.models[request.model.name] = request.model
        return planner_pb2.RegisterModelResponse(model=request.model)

    def ListModels(
        self, request: planner_pb2.ListModelsRequest, context: grpc.ServicerContext
    ) -> planner_pb2.ListModelsResponse:
        return planner_pb2.ListModelsResponse(models=self.models.values())

    def RemoveModel(
        self, request: planner_pb2.RemoveModelRequest, context: grpc.ServicerContext
    ) -> planner_pb2.RemoveModelResponse:
        if self.models.pop(request.name, None) is None:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no model {request.name!r}")
        return planner_pb2.RemoveModelResponse()

    def GetStatus(
        self, request: planner_pb2.GetStatusRequest, context: grpc.ServicerContext
    ) -> planner_pb2.GetStatusResponse:
        worker = planner_pb2.WorkerStatus(name="w0", executor="emulated", first_device=4, num_devices=4)
        silent = planner_pb2.GroupStatus(group=GROUP)
        return planner_pb2.GetStatusResponse(
            placement_version=len(self.history), workers=[worker], groups=[silent], rate_per_s={"m0": 2.5}
        )


GROUP = placement_pb2.Group(
    name="g0",
    config=model_pb2.ParallelConfig(inter_op=2, intra_op=1),
    devices=[4, 5],
    models=["m0"],
    worker="w0",
    address="127.0.0.1:9",
)


@dataclass
class ScriptedProfiler(profiler_pb2_grpc.ProfilerServicer):
    """Measures 0.25 s in each stage, whatever it is asked."""

    requests: list[profiler_pb2.ProfileRequest] = field(default_factory=list)
    imported: list[bytes] = field(default_factory=list)
    pruned: tuple[profiler_pb2.Pruned, ...] = ()

    def Profile(
        self, request: profiler_pb2.ProfileRequest, context: grpc.ServicerContext
    ) -> Iterator[profiler_pb2.ProfileResponse]:
        self.requests.append(request)
        for pruned in self.pruned:
            yield profiler_pb2.ProfileResponse(pruned=pruned)
        stages = [measured(config) for config in request.configs]
        for stage in stages:
            yield profiler_pb2.ProfileResponse(measured=stage)
        yield profiler_pb2.ProfileResponse(profile=profile_pb2.ModelProfile(name=request.model, stages=stages))

    def GetProfile(
        self, request: profiler_pb2.GetProfileRequest, context: grpc.ServicerContext
    ) -> profiler_pb2.GetProfileResponse:
        stages = [measured(config) for config in self.requests[-1].configs] if self.requests else []
        profile = profile_pb2.ModelProfile(name=request.name, stages=stages, reference_latency_s=0.5)
        profiles = profile_pb2.ProfileSet(models=[profile], device_kind="cpu", request_overhead_s=0.125)
        return profiler_pb2.GetProfileResponse(profiles=profiles)

    def ListProfiles(
        self, request: profiler_pb2.ListProfilesRequest, context: grpc.ServicerContext
    ) -> profiler_pb2.ListProfilesResponse:
        return profiler_pb2.ListProfilesResponse(names=["bert", "moe"])

    def ImportProfile(
        self, request: profiler_pb2.ImportProfileRequest, context: grpc.ServicerContext
    ) -> profiler_pb2.ImportProfileResponse:
        self.imported.append(request.profiles_json or request.alpa_tsv)
        return profiler_pb2.ImportProfileResponse(names=["bert"])


def measured(config: model_pb2.ParallelConfig) -> profile_pb2.StageProfile:
    return profile_pb2.StageProfile(
        config=config,
        batch_size=1,
        stage_latency_s=[0.25] * config.inter_op,
        stage_weight_bytes=[8] * config.inter_op,
        source="measured",
    )


@contextmanager
def planning(planner: ScriptedPlanner, profiler: ScriptedProfiler | None = None) -> Iterator[str]:
    """The address of both."""
    server = grpc.server(ThreadPoolExecutor(4))
    planner_pb2_grpc.add_PlannerServicer_to_server(planner, server)
    profiler_pb2_grpc.add_ProfilerServicer_to_server(profiler or ScriptedProfiler(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()
