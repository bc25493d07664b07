"""The files of a planning problem, as the fields of a request."""

from pathlib import Path

from alpaserve.v1 import planner_pb2

from alpaserve_cli.files import read_profiles, read_spec, read_workload
from alpaserve_cli.wire import cluster_message, model_messages, workload_message
from services.core.errors import InvalidArgument
from services.infra.wire import profiles_message


def describe_files(
    request: planner_pb2.PlanRequest | planner_pb2.SimulateRequest,
    spec: Path | None,
    profiles: Path | None,
    workload: Path | None,
) -> None:
    """Fill in what there are files for; the planner takes the rest from the running system.

    Raises: InvalidArgument for files that do not go together; what a file that is not well formed raises.
    """
    if (spec is None) != (profiles is None):
        raise InvalidArgument("--spec and --profiles go together")
    if spec is not None and profiles is not None:
        described = read_spec(spec)
        request.models.extend(model_messages(described))
        request.cluster.CopyFrom(cluster_message(described.cluster))
        request.profiles.CopyFrom(profiles_message(read_profiles(profiles)))
    if workload is not None:
        request.workload.CopyFrom(workload_message(read_workload(workload)))
