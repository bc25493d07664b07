"""`alpaserve capacity` and `what-if` with --planner: the plans are made in the planner."""

from collections.abc import Callable
from pathlib import Path

from alpaserve.v1 import planner_pb2
from alpaserve_client import PlannerClient

from alpaserve_cli.connecting import connection
from alpaserve_cli.failures import CommandError
from alpaserve_cli.plan_service import to_probe
from alpaserve_cli.request_files import describe_files
from services.core.placement import Placement
from services.infra.wire import placement_message, to_placement
from services.planner.policies.plan import Plan
from services.planner.policies.questions import Capacity, Probe
from services.planner.policies.variations import Cell, Scenario


def explore_request(spec: Path | None, profiles: Path | None, workload: Path | None) -> planner_pb2.ExploreRequest:
    """The files' content; without a spec the registered models and running workers, without a
    workload the live arrivals. Raises: InvalidArgument for files that do not go together."""
    request = planner_pb2.ExploreRequest()
    describe_files(request.plan, spec, profiles, workload)
    request.plan.validate_only = True
    return request


def capacity_with_service(
    request: planner_pb2.ExploreRequest,
    kept: Placement | None,
    planner: str,
    on_probe: Callable[[Probe], None],
) -> Capacity:
    """Have it searched, and hear of every scale that is tried."""
    if kept is not None:
        request.capacity.placement.CopyFrom(placement_message(kept))
    probes = []
    with PlannerClient(planner, connection()) as client:
        for response in client.explore(request):
            event = response.WhichOneof("event")
            if event == "probe":
                probes.append(to_probe(response.probe))
                on_probe(probes[-1])
            elif event == "capacity":
                return to_capacity(response.capacity, tuple(probes))
    raise CommandError(f"the planner at {planner} ended without a capacity")


def to_capacity(message: planner_pb2.CapacityFound, probes: tuple[Probe, ...]) -> Capacity:
    if not message.HasField("scale"):
        return Capacity(None, None, None, False, probes)
    placement = to_placement(message.placement)
    (best,) = (probe for probe in probes if probe.value == message.scale)
    plan = Plan(placement, message.placement.policy, best.attainment or 0.0, 0, best.upper_bound, ())
    return Capacity(message.scale, message.rate_per_s, plan, message.is_open_ended, probes)


def grid_with_service(request: planner_pb2.ExploreRequest, planner: str, on_cell: Callable[[Cell], None]) -> list[Cell]:
    """Have a grid planned, and hear of every cell as it is done."""
    cells = []
    with PlannerClient(planner, connection()) as client:
        for response in client.explore(request):
            cells.append(to_cell(response.cell))
            on_cell(cells[-1])
    return cells


def to_cell(message: planner_pb2.Cell) -> Cell:
    slo_scale = message.slo_scale if message.HasField("slo_scale") else None
    return Cell(
        policy=message.policy,
        scenario=Scenario(message.num_devices, message.rate_scale, message.cv_scale, slo_scale),
        attainment=message.attainment,
        upper_bound=message.upper_bound if message.HasField("upper_bound") else None,
        num_simulations=message.num_simulations,
    )
