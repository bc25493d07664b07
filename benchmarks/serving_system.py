"""The whole system over emulated devices, each service a process, for what measures it from outside."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from alpaserve.v1 import model_pb2, placement_pb2
from alpaserve_cli.addresses import free_port
from alpaserve_cli.processes import ServiceProcess
from alpaserve_client import ConnectionOptions, PlannerClient
from redis import Redis

from benchmarks.serving_load import MODEL
from benchmarks.system import running_system, serving_with
from services.infra.store import keys
from services.infra.wire import to_duration

MEMORY_BYTES = 10**9
TICKS_PER_S, PAGE_BYTES = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Groups:
    """So many single devices that all hold the model, which takes `stage_s` on each and has this SLO."""

    num_groups: int
    stage_s: float
    slo_s: float


@dataclass(frozen=True, slots=True)
class ServingSystem:
    """The routers share a port where there are several."""

    routers: tuple[ServiceProcess, ...]
    worker: ServiceProcess

    @property
    def address(self) -> str:
        return self.routers[0].address


@contextmanager
def serving(
    groups: Groups, num_routers: int = 1, router_settings: Mapping[str, object] | None = None
) -> Iterator[ServingSystem]:
    """Redis, planner, worker and routers, and the model placed."""
    settings = {
        "executor": "emulated",
        "num_devices": groups.num_groups,
        "memory_bytes": MEMORY_BYTES,
        "drain_s": 1,
    }
    own = dict(router_settings or {})
    if num_routers > 1:
        own |= {"shares_port": True, "port": free_port()}
    with running_system(settings, serving_with(num_routers), own) as system:
        store_profile(system.redis_url, groups.stage_s)
        place(system.processes["planner"].address, groups)
        yield ServingSystem(system.routers, system.processes["worker"])


def store_profile(redis_url: str, stage_s: float) -> None:
    """As a profiler would."""
    stage = {
        "inter_op": 1,
        "intra_op": 1,
        "batch_size": 1,
        "stage_latency_s": [stage_s],
        "stage_weight_bytes": [1],
    }
    document = {"schema": "alpaserve.profiles/v1", "models": [{"model": MODEL, "profiles": [stage]}]}
    with Redis.from_url(redis_url) as redis:
        redis.hset(keys.PROFILES, MODEL, json.dumps(document))


def place(planner: str, groups: Groups, options: ConnectionOptions | None = None) -> None:
    level = model_pb2.ServiceLevel(slo=to_duration(groups.slo_s))
    config = model_pb2.ParallelConfig(inter_op=1, intra_op=1)
    placed = [
        placement_pb2.Group(config=config, devices=[device], models=[MODEL]) for device in range(groups.num_groups)
    ]
    with PlannerClient(planner, options) as client:
        client.register_model(model_pb2.Model(name=MODEL, profile=MODEL, service_level=level))
        client.apply(placement_pb2.Placement(groups=placed), timeout_s=60)


def processor_s(pids: Sequence[int]) -> float:
    """Processor seconds that these processes and their descendants have used."""
    return sum(stat.ticks for stat in family(pids)) / TICKS_PER_S


def family_bytes(pid: int) -> int:
    """Memory that a process and its descendants hold."""
    return sum(resident_bytes(stat.pid) for stat in family([pid]))


def resident_bytes(pid: int) -> int:
    """Memory that a process holds; nothing once it is gone."""
    try:
        return PAGE_BYTES * int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0


@dataclass(frozen=True, slots=True)
class Stat:
    """What the kernel tells of a process."""

    pid: int
    parent: int
    ticks: int


def family(pids: Sequence[int]) -> list[Stat]:
    """These processes and their descendants."""
    found: dict[int, Stat] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        pid = int(path.parent.name)
        found[pid] = Stat(pid, int(fields[1]), int(fields[11]) + int(fields[12]))

    def belongs(pid: int) -> bool:
        while pid in found and pid not in pids:
            pid = found[pid].parent
        return pid in found

    return [stat for pid, stat in found.items() if belongs(pid)]
