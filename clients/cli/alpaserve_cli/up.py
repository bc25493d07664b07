"""`alpaserve up`: the whole system on this machine, until it is told to end."""

import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from alpaserve_client.security import tls_of_environment

from alpaserve_cli.embedded_redis import EmbeddedRedis
from alpaserve_cli.failures import CommandError
from alpaserve_cli.health import wait_until_healthy
from alpaserve_cli.output import Output, OutputOption, print_json, print_table
from alpaserve_cli.processes import ServiceProcess
from alpaserve_cli.ray_host import with_ray
from alpaserve_cli.secured import secured, security_files
from alpaserve_cli.security_files import SecurityFiles
from alpaserve_cli.supervisor import Member, Supervisor

_POLL_S = 0.1
_HEALTH_TIMEOUT_S = 30.0
_DRAIN_MARGIN_S = 15.0


class Executor(StrEnum):
    """What runs the models."""

    JAX = "jax"
    EMULATED = "emulated"


class ReplaceMode(StrEnum):
    """Whether placements follow the traffic."""

    OFF = "off"
    ADVISORY = "advisory"
    AUTO = "auto"


class Controller(StrEnum):
    """What gives the planner a reason to look for another placement."""

    FORECAST = "forecast"
    DRIFT = "drift"
    PERIODIC = "periodic"


@dataclass(frozen=True, slots=True)
class Layout:
    """What to run. `first_port` is the first router's (every router's if `shares_port`), the next ones the
    planner's and the profiler's; 0 takes free ones. `page_port` is that of the planner's page, 0 for none. What of
    `planner` is not given is as in this process's environment."""

    executor: str
    num_devices: int
    memory_bytes: int | None
    num_routers: int
    host: str
    first_port: int
    planner: dict[str, str] = field(default_factory=dict)
    shares_port: bool = False
    page_port: int = 0

    @property
    def ports(self) -> list[int]:
        """Those that are not taken as they come."""
        first = self.first_port
        return [*(range(first, first + 3) if first else ()), *([self.page_port] if self.page_port else ())]


DataDirOption = Annotated[Path, typer.Option("--data-dir", help="Where placements, profiles and logs are kept.")]
RedisUrlOption = Annotated[
    str, typer.Option("--redis-url", envvar="ALPASERVE_REDIS_URL", help="A Redis; without one, it brings its own.")
]


def up(
    data_dir: DataDirOption = Path("~/.alpaserve"),
    num_devices: Annotated[int, typer.Option("--num-devices", min=1, help="Devices of this machine.")] = 1,
    executor: Annotated[
        Executor, typer.Option("--executor", help="jax runs models, emulated only takes the time.")
    ] = Executor.JAX,
    memory_bytes: Annotated[
        int | None, typer.Option("--memory-bytes", min=1, help="Bytes that each device offers to weights.")
    ] = None,
    redis_url: RedisUrlOption = "",
    routers: Annotated[int, typer.Option("--routers", min=1, help="Number of routers.")] = 1,
    share_port: Annotated[
        bool, typer.Option("--share-port", help="All routers listen on the first one's port.")
    ] = False,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65000, help="The first router's; planner and profiler follow. 0: any.")
    ] = 50051,
    page_port: Annotated[
        int | None,
        typer.Option("--page-port", min=0, max=65535, help="The planner's web page; by default --port and 3. 0: none."),
    ] = None,
    replace: Annotated[
        ReplaceMode | None,
        typer.Option("--replace", help="Whether placements follow the traffic; advisory decides, but applies nothing."),
    ] = None,
    controller: Annotated[
        Controller | None, typer.Option("--controller", help="What gives a reason to look for another placement.")
    ] = None,
    drain: Annotated[float, typer.Option("--drain", min=0, help="Seconds that admitted work has to finish.")] = 30.0,
    secure: Annotated[
        bool, typer.Option("--secure", help="Ask callers for certificates and tokens, made for development if absent.")
    ] = False,
    security_dir: Annotated[
        Path | None, typer.Option("--security-dir", help="Where these are; by default in --data-dir.")
    ] = None,
    models_dir: Annotated[
        Path | None,
        typer.Option("--models-dir", help="With --secure: where checkpoints are; else in --data-dir."),
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Run the whole system: Redis, planner, worker, profiler, routers.

    What dies is restarted. SIGINT or SIGTERM drains and stops it all; a second one stops it at once.
    """
    following = {"ALPASERVE_REPLACE_MODE": replace, "ALPASERVE_CONTROLLER": controller}
    planner = {name: value.value for name, value in following.items() if value is not None}
    page = page_port if page_port is not None else port + 3 if port else 0
    layout = Layout(executor.value, num_devices, memory_bytes, routers, host, port, planner, share_port, page)
    check_ports(layout)
    directory = data_dir.expanduser()
    files = security_files(security_dir or directory / "security", host) if secure else None
    redis = None if redis_url else EmbeddedRedis(directory / "redis")
    supervisor = Supervisor(directory / "logs", redis)
    _stop_on_signals()
    with contextlib.suppress(StopRequested):
        try:
            url = redis.start() if redis else redis_url
            services = members(layout, directory, url, drain)
            if files is not None:
                services = secured(services, files, models_dir or directory / "models")
            worker = next(member for member in services if member.service == "worker")
            ray, joining = with_ray(worker)
            supervisor.start_all([ray])
            processes = supervisor.start_all([joining if member is worker else member for member in services])
            for process in processes.values():
                wait_until_healthy(
                    process.address, _HEALTH_TIMEOUT_S, tls_of_environment({**os.environ, **services[0].env})
                )
            print_processes(processes, directory / "logs", files, page_address(layout, files), output)
            supervise(supervisor)
        finally:
            supervisor.stop_all(drain + _DRAIN_MARGIN_S)


class StopRequested(BaseException):
    """A signal asked this process to end."""


def _stop_on_signals() -> None:
    def stop(_number: int, _frame: object) -> NoReturn:
        raise StopRequested

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)


def supervise(supervisor: Supervisor) -> NoReturn:
    while True:
        for line in supervisor.revive():
            print(line, file=sys.stderr, flush=True)
        time.sleep(_POLL_S)


def check_ports(layout: Layout) -> None:
    """gRPC servers would share a port with whoever has it, and split its calls.

    Raises: CommandError for a port that is taken.
    """
    if layout.shares_port and not layout.first_port:
        raise CommandError("--share-port needs a --port that is not 0")
    if layout.ports.count(layout.page_port) > 1:
        raise CommandError(f"--page-port {layout.page_port} is that of a service")
    for port in layout.ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((layout.host, port))
            except OSError as error:
                raise CommandError(f"port {port} of {layout.host}: {error.strerror}; choose with --port") from None


def members(layout: Layout, directory: Path, redis_url: str, drain_s: float) -> list[Member]:
    """In the order of their start."""
    shared = {
        "ALPASERVE_REDIS_URL": redis_url,
        "ALPASERVE_HOST": layout.host,
        "ALPASERVE_DRAIN_S": str(drain_s),
        # A start is told from the log; fewer lines than info would hide it.
        "ALPASERVE_LOG_LEVEL": "debug" if os.environ.get("ALPASERVE_LOG_LEVEL") == "debug" else "info",
        # One port that all of them would take.
        "ALPASERVE_METRICS_PORT": "0",
    }
    devices = {
        "ALPASERVE_EXECUTOR": layout.executor,
        "ALPASERVE_NUM_DEVICES": str(layout.num_devices),
        "ALPASERVE_CACHE_DIR": str(directory / "cache"),
    }
    if layout.memory_bytes is not None:
        devices["ALPASERVE_MEMORY_BYTES"] = str(layout.memory_bytes)
    planner = layout.planner | _port(layout, 1) | {"ALPASERVE_PAGE_PORT": str(layout.page_port)}
    first_router = _port(layout, 0) | {"ALPASERVE_SHARES_PORT": str(layout.shares_port)}
    found = [
        Member("planner", "planner", shared | planner),
        Member("worker", "worker", shared | devices | {"ALPASERVE_PORT": "0", "ALPASERVE_WORKER_NAME": "local"}),
        Member("profiler", "profiler", shared | devices | _port(layout, 2)),
        Member("router", "router", shared | first_router),
    ]
    others = range(2, layout.num_routers + 1)
    router = first_router if layout.shares_port else {"ALPASERVE_PORT": "0"}
    return found + [Member(f"router-{n}", "router", shared | router) for n in others]


def _port(layout: Layout, offset: int) -> dict[str, str]:
    return {"ALPASERVE_PORT": str(layout.first_port + offset if layout.first_port else 0)}


def page_address(layout: Layout, files: SecurityFiles | None) -> str:
    """Empty where there is no page."""
    return f"{'http' if files is None else 'https'}://{layout.host}:{layout.page_port}/" if layout.page_port else ""


def print_processes(
    processes: Mapping[str, ServiceProcess], log_dir: Path, files: SecurityFiles | None, page: str, output: Output
) -> None:
    """Print who serves where; as JSON addresses by name."""
    if output is Output.JSON:
        addresses = {name: process.address for name, process in processes.items()}
        pids = {name: process.pid for name, process in processes.items()}
        security = {} if files is None else {"security_dir": str(files.directory)}
        shown = {"page": page} if page else {}
        print_json({"addresses": addresses, "pids": pids, "log_dir": str(log_dir), **shown, **security})
    else:
        rows = ((name, process.address, process.pid) for name, process in processes.items())
        print_table("Serving", ("service", "address", "process"), rows)
        if page:
            print(f"what runs, and why: {page}")
        if files is not None:
            print(f"`. {files.client_env}` lets a shell's alpaserve commands in")
        print(f"logs in {log_dir}; Ctrl-C ends it")
    sys.stdout.flush()
