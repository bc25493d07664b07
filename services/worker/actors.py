"""The Ray actors of a host: one for each group with real devices, one for all emulated groups."""

from collections.abc import Sequence
from typing import Any

from services.infra.ray_cluster import start_actor
from services.parallel.environment import device_environment
from services.worker.leader.process import LeaderProcess
from services.worker.settings import WorkerSettings


def start_leader(settings: WorkerSettings, local_devices: Sequence[int]) -> Any:
    """A new process on this host that may use these devices."""
    environment: dict[str, str] = {}
    if settings.executor == "jax":
        environment = device_environment(len(local_devices), settings.platform)
        if settings.platform == "gpu":
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(str(device) for device in local_devices)
    return start_actor(LeaderProcess, environment, settings)
