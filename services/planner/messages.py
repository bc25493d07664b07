"""What the planner tells of its plans and transitions, as messages."""

from alpaserve.v1 import planner_pb2
from google.protobuf import timestamp_pb2

from services.core.attainment import Report
from services.core.steps import Down, StepKind
from services.infra.store.transitions import StepRecord, TransitionRecord, TransitionState
from services.infra.wire import (
    config_message,
    deployed_group_message,
    deployment_message,
    group_message,
    placement_message,
)
from services.planner.changes import Change
from services.planner.policies.questions import Capacity, FewestDevices, Probe
from services.planner.policies.variations import Cell
from services.planner.transitions import Applied

STATES = {
    TransitionState.RUNNING: planner_pb2.TRANSITION_STATE_RUNNING,
    TransitionState.APPLIED: planner_pb2.TRANSITION_STATE_APPLIED,
    TransitionState.FAILED: planner_pb2.TRANSITION_STATE_FAILED,
    TransitionState.CUT_OFF: planner_pb2.TRANSITION_STATE_CUT_OFF,
}
KINDS = {
    StepKind.FORM: planner_pb2.STEP_KIND_FORM,
    StepKind.LOAD: planner_pb2.STEP_KIND_LOAD,
    StepKind.SWITCH: planner_pb2.STEP_KIND_SWITCH,
    StepKind.UNLOAD: planner_pb2.STEP_KIND_UNLOAD,
    StepKind.DISSOLVE: planner_pb2.STEP_KIND_DISSOLVE,
}


def diff_message(change: Change) -> planner_pb2.PlacementDiff:
    transition, groups = change.transition, change.transition.target.groups
    return planner_pb2.PlacementDiff(
        kept=[deployed_group_message(group) for group in transition.kept.values()],
        formed=[group_message(groups[index]) for index in transition.formed],
        dissolved=[deployed_group_message(group) for group in transition.dissolved],
        num_loads=len(transition.loads),
        load_bytes=change.load_bytes,
        num_unloads=len(transition.unloads),
        interrupted=transition.interrupted,
        predicted_s=change.schedule.end_s,
        down=map(down_message, change.schedule.down),
    )


def applied_message(applied: Applied) -> planner_pb2.PlacementApplied:
    return planner_pb2.PlacementApplied(
        placement=deployment_message(applied.deployment),
        transition_s=applied.transition_s,
        predicted_s=applied.change.schedule.end_s,
        down=map(down_message, applied.record.down),
    )


def down_message(down: Down) -> planner_pb2.Downtime:
    return planner_pb2.Downtime(model=down.model, begin_s=down.begin_s, end_s=down.end_s)


def transition_message(record: TransitionRecord) -> planner_pb2.Transition:
    began_at = timestamp_pb2.Timestamp()
    began_at.FromNanoseconds(int(record.began_at_s * 1e9))
    return planner_pb2.Transition(
        number=record.number,
        state=STATES[record.state],
        placement_version=record.version,
        policy=record.policy,
        began_at=began_at,
        predicted_s=record.predicted_s,
        transition_s=record.transition_s,
        steps=map(step_message, record.steps),
        predicted_down=map(down_message, record.predicted_down),
        down=map(down_message, record.down),
        error=record.error,
    )


def step_message(record: StepRecord) -> planner_pb2.TransitionStep:
    step = record.step
    return planner_pb2.TransitionStep(
        kind=KINDS[step.kind],
        phase=step.phase,
        group=record.group,
        config=None if record.config is None else config_message(record.config),
        devices=record.devices,
        model=step.model,
        num_bytes=record.num_bytes,
        predicted_begin_s=step.begin_s,
        predicted_end_s=step.end_s,
        begin_s=record.begin_s,
        end_s=record.end_s,
    )


def report_message(report: Report) -> planner_pb2.SimulateResponse:
    latency_s = report.latency_s
    return planner_pb2.SimulateResponse(
        attainment=report.attainment,
        num_requests=report.num_requests,
        goodput_per_s=report.goodput_per_s,
        latency_s=planner_pb2.LatencySummary(mean=latency_s.mean, p50=latency_s.p50, p99=latency_s.p99),
        models={
            name: planner_pb2.ModelAttainment(attainment=row.attainment, num_requests=row.num_requests)
            for name, row in report.models.items()
        },
        groups=[
            planner_pb2.GroupAttainment(
                num_requests=row.num_requests, num_attained=row.num_attained, stage_busy_share=row.stage_busy_share
            )
            for row in report.groups
        ],
    )


def target_message(target: float, found: FewestDevices) -> planner_pb2.TargetFound:
    return planner_pb2.TargetFound(
        target=target,
        num_devices=found.num_devices,
        reached=found.reached,
        probes=map(probe_message, found.probes),
    )


def probe_message(probe: Probe) -> planner_pb2.Probe:
    return planner_pb2.Probe(
        value=probe.value,
        rate_per_s=probe.rate_per_s,
        attainment=probe.attainment,
        upper_bound=probe.upper_bound,
        num_simulations=probe.num_simulations,
    )


def capacity_message(found: Capacity) -> planner_pb2.CapacityFound:
    return planner_pb2.CapacityFound(
        scale=found.scale,
        rate_per_s=found.rate_per_s,
        is_open_ended=found.is_open_ended,
        placement=None if found.plan is None else placement_message(found.plan.placement, found.plan.policy),
    )


def cell_message(cell: Cell) -> planner_pb2.Cell:
    return planner_pb2.Cell(
        policy=cell.policy,
        num_devices=cell.scenario.num_devices,
        rate_scale=cell.scenario.rate_scale,
        cv_scale=cell.scenario.cv_scale,
        slo_scale=cell.scenario.slo_scale,
        attainment=cell.attainment,
        upper_bound=cell.upper_bound,
        num_simulations=cell.num_simulations,
    )
