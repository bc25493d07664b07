"""`alpaserve simulate --planner`: the planner simulates, on files or on the running system."""

from pathlib import Path

from alpaserve.v1 import planner_pb2
from alpaserve_client import PlannerClient

from alpaserve_cli.connecting import connection
from alpaserve_cli.files import read_placement
from alpaserve_cli.request_files import describe_files
from alpaserve_cli.simulate_here import read_windows
from alpaserve_cli.simulate_options import SimulateOptions
from services.core.attainment import GroupAttainment, LatencySummary, ModelAttainment, Report
from services.core.errors import InvalidArgument
from services.infra.wire import placement_message


def simulate_request(spec: Path | None, profiles: Path | None, workload: Path | None) -> planner_pb2.SimulateRequest:
    """The files' content; without a spec the registered models and running workers, without a
    workload the live arrivals.

    Raises: InvalidArgument for files that do not go together.
    """
    request = planner_pb2.SimulateRequest()
    describe_files(request, spec, profiles, workload)
    return request


def simulate_with_service(
    request: planner_pb2.SimulateRequest, placement: Path | None, options: SimulateOptions, planner: str
) -> Report:
    """Have a placement, or the running one, simulated. Raises: InvalidArgument for windows."""
    if options.load_bytes_per_s is not None:
        raise InvalidArgument("--load-bytes-per-s is for windows, which are simulated without --planner")
    if placement is not None:
        if read_windows(placement) is not None:
            raise InvalidArgument(f"{placement} has windows, which are simulated without --planner")
        request.placement.CopyFrom(placement_message(read_placement(placement)))
    request.dispatch = options.dispatch or ""
    if options.batching is not None:
        request.batching, request.batching_rule = options.batching.max_size, options.batching.rule
    with PlannerClient(planner, connection()) as client:
        return to_report(client.simulate(request))


def to_report(message: planner_pb2.SimulateResponse) -> Report:
    latency_s = message.latency_s
    return Report(
        attainment=message.attainment,
        num_requests=message.num_requests,
        goodput_per_s=message.goodput_per_s if message.HasField("goodput_per_s") else None,
        latency_s=LatencySummary(
            mean=latency_s.mean if latency_s.HasField("mean") else None,
            p50=latency_s.p50 if latency_s.HasField("p50") else None,
            p99=latency_s.p99 if latency_s.HasField("p99") else None,
        ),
        models={
            name: ModelAttainment(row.attainment if row.HasField("attainment") else None, row.num_requests)
            for name, row in sorted(message.models.items())
        },
        groups=tuple(
            GroupAttainment(row.num_requests, row.num_attained, tuple(row.stage_busy_share)) for row in message.groups
        ),
    )
