"""Where the services are: an option, else an environment variable, else this machine."""

import socket
from typing import Annotated

import typer

DEFAULT_ROUTER = "127.0.0.1:50051"
DEFAULT_PLANNER = "127.0.0.1:50052"
DEFAULT_PROFILER = "127.0.0.1:50053"

RouterOption = Annotated[str, typer.Option("--router", envvar="ALPASERVE_ROUTER", help="Address of a router.")]
PlannerOption = Annotated[str, typer.Option("--planner", envvar="ALPASERVE_PLANNER", help="Address of the planner.")]
ProfilerOption = Annotated[
    str, typer.Option("--profiler", envvar="ALPASERVE_PROFILER", help="Address of the profiler.")
]


def free_port() -> int:
    """A port of the loopback that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
