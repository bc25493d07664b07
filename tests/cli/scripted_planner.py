"""A planner and a profiler of the tests: they keep what they are given, in memory."""

import time
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
        return planner_pb2.PlacementApplied(placement=running, transition_s=0.5, predicted_s=0.75)

    def holds(self, model: str) -> bool:
        return bool(self.history) and any(model in group.models for group in self.history[-1].groups)

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

    def WatchTransition(
        self, request: planner_pb2.WatchTransitionRequest, context: grpc.ServicerContext
    ) -> Iterator[planner_pb2.WatchTransitionResponse]:
        yield planner_pb2.WatchTransitionResponse()
        while not self.history:
            time.sleep(0.01)
        for transition in transitions():
            yield planner_pb2.WatchTransitionResponse(transition=transition)

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

    def PlaceModel(
        self, request: planner_pb2.PlaceModelRequest, context: grpc.ServicerContext
    ) -> planner_pb2.PlaceModelResponse:
        if self.holds(request.model):
            return planner_pb2.PlaceModelResponse()
        return planner_pb2.PlaceModelResponse(applied=self.run(placement_pb2.Placement(groups=[GROUP])))

    def WithdrawModel(
        self, request: planner_pb2.WithdrawModelRequest, context: grpc.ServicerContext
    ) -> planner_pb2.WithdrawModelResponse:
        if not self.holds(request.model):
            return planner_pb2.WithdrawModelResponse()
        return planner_pb2.WithdrawModelResponse(applied=self.run(placement_pb2.Placement()))

    def RemoveModel(
        self, request: planner_pb2.RemoveModelRequest, context: grpc.ServicerContext
    ) -> planner_pb2.RemoveModelResponse:
        if self.models.pop(request.name, None) is None:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no model {request.name!r}")
        return planner_pb2.RemoveModelResponse()

    def ListDecisions(
        self, request: planner_pb2.ListDecisionsRequest, context: grpc.ServicerContext
    ) -> planner_pb2.ListDecisionsResponse:
        newest = list(reversed(decisions()))[: request.limit]
        return planner_pb2.ListDecisionsResponse(decisions=newest, mode="auto", controller="drift", num_idle_looks=4)

    def WatchDecisions(
        self, request: planner_pb2.WatchDecisionsRequest, context: grpc.ServicerContext
    ) -> Iterator[planner_pb2.WatchDecisionsResponse]:
        for decision in decisions()[-request.limit :]:
            yield planner_pb2.WatchDecisionsResponse(decision=decision)

    def GetStatus(
        self, request: planner_pb2.GetStatusRequest, context: grpc.ServicerContext
    ) -> planner_pb2.GetStatusResponse:
        worker = planner_pb2.WorkerStatus(name="w0", executor="emulated", first_device=4, num_devices=4)
        silent = planner_pb2.GroupStatus(group=GROUP)
        return planner_pb2.GetStatusResponse(
            placement_version=len(self.history), workers=[worker], groups=[silent], rate_per_s={"m0": 2.5}
        )


def transitions() -> Iterator[planner_pb2.Transition]:
    """A transition of two steps that leaves a model down for a while, look by look."""
    moving = planner_pb2.Transition(number=3, state=planner_pb2.TRANSITION_STATE_RUNNING, predicted_s=2.0)
    config = model_pb2.ParallelConfig(inter_op=2, intra_op=1)
    moving.steps.add(kind=planner_pb2.STEP_KIND_LOAD, config=config, devices=[4, 5], model="m0", predicted_end_s=1.5)
    moving.steps.add(kind=planner_pb2.STEP_KIND_SWITCH, predicted_begin_s=1.5, predicted_end_s=2.0)
    yield moving
    moving.steps[0].begin_s = 0.0
    moving.down.add(model="m0", begin_s=0.0)
    yield moving
    moving.steps[0].end_s = moving.steps[1].begin_s = 1.0
    yield moving
    moving.steps[1].end_s = moving.down[0].end_s = moving.transition_s = 1.25
    moving.state = planner_pb2.TRANSITION_STATE_APPLIED
    yield moving


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
    removed: list[str] = field(default_factory=list)
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

    def RemoveProfile(
        self, request: profiler_pb2.RemoveProfileRequest, context: grpc.ServicerContext
    ) -> profiler_pb2.RemoveProfileResponse:
        self.removed.append(request.name)
        return profiler_pb2.RemoveProfileResponse()


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


def decisions() -> list[planner_pb2.Decision]:
    """One that changed nothing, one that was applied and one that was refused, the oldest first."""
    quiet = planner_pb2.Decision(controller="drift", mode="auto", reason="600 s since the last look")
    quiet.verdict, quiet.outcome = planner_pb2.VERDICT_TOO_LITTLE_TRAFFIC, planner_pb2.DECISION_OUTCOME_KEPT
    applied = planner_pb2.Decision(controller="drift", mode="auto", reason="rates differ", applied_version=4)
    applied.at.FromSeconds(1_700_000_000)
    applied.verdict, applied.outcome = planner_pb2.VERDICT_SWITCH, planner_pb2.DECISION_OUTCOME_APPLIED
    applied.gain, applied.cost, applied.margin, applied.attainment_stay = 0.125, 0.0, 0.002, 0.0
    applied.predicted_s, applied.transition_s = 0.5, 0.75
    applied.move.CopyFrom(planner_pb2.Move(models_loaded=["m0"], num_loads=2, load_bytes=3 * 10**9, groups_formed=1))
    applied.candidate.groups.add().CopyFrom(GROUP)
    refused = planner_pb2.Decision(controller="drift", mode="auto", error="placement version 5 runs, not 4")
    refused.verdict, refused.outcome = planner_pb2.VERDICT_SWITCH, planner_pb2.DECISION_OUTCOME_REFUSED
    return [quiet, applied, refused]
