"""The Ray actors of a host: one for each group with real devices, one for all emulated groups."""

from collections.abc import Sequence
from typing import Any

import ray

from services.parallel.environment import device_environment
from services.worker.leader.process import LeaderProcess
from services.worker.settings import WorkerSettings


def join_cluster(settings: WorkerSettings) -> None:
    """Start Ray on this host, or join the named cluster."""
    started_here = settings.ray_address == "local"
    ray.init(
        address=settings.ray_address,
        include_dashboard=False if started_here else None,
        num_cpus=1 if started_here else None,
        num_gpus=0 if started_here else None,
        object_store_memory=settings.ray_object_store_bytes if started_here else None,
        log_to_driver=True,
        configure_logging=False,
    )


def leave_cluster() -> None:
    ray.shutdown()


def start_actor(settings: WorkerSettings, local_devices: Sequence[int]) -> Any:
    """A new process on this host that may use these devices."""
    environment: dict[str, str] = {}
    if settings.executor == "jax":
        environment = device_environment(len(local_devices), settings.platform)
        if settings.platform == "gpu":
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(str(device) for device in local_devices)
    node = ray.get_runtime_context().get_node_id()
    actor = ray.remote(LeaderProcess).options(
        num_cpus=0,
        max_concurrency=1000,
        max_restarts=0,
        runtime_env={"env_vars": environment} if environment else None,
        scheduling_strategy=ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node, soft=False),
    )
    return actor.remote(settings)
