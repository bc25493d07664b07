"""The Ray cluster that a process starts or joins, and actors on the process's own host."""

import asyncio
import ctypes
import os
import signal
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import ray
import structlog
from ray.exceptions import RayActorError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from tenacity import RetryCallState, retry, stop_after_attempt

from services.core.errors import AlpaServeError, GroupUnavailable

log = structlog.get_logger()

LOCAL = "local"
# Ray gives its own processes half a minute to start, which a busy host may not keep; now and then its raylet ends at
# once without a word. Ray tells of neither by a type of its own.
NUM_STARTS = 3


def start_failed(state: RetryCallState) -> None:
    log.warning(
        "ray_start_failed", attempt=state.attempt_number, error=str(state.outcome and state.outcome.exception())
    )
    ray.shutdown()


@retry(stop=stop_after_attempt(NUM_STARTS), reraise=True, after=start_failed)
def start_cluster(object_store_bytes: int) -> None:
    """Start a cluster of this host alone."""
    ray.init(
        address=LOCAL,
        include_dashboard=False,
        num_cpus=1,
        num_gpus=0,
        object_store_memory=object_store_bytes,
        configure_logging=False,
        # Ray would run actors at nice 15, and whatever else is busy on the host would make leaders late.
        _system_config={"worker_niceness": 0},
    )


def join_cluster(address: str, object_store_bytes: int) -> None:
    """Start a cluster of this host alone if `address` is local, else join the named one."""
    if address == LOCAL:
        start_cluster(object_store_bytes)
    else:
        ray.init(address=address, configure_logging=False)


def leave_cluster() -> None:
    ray.shutdown()


@asynccontextmanager
async def joined_cluster(address: str, object_store_bytes: int) -> AsyncIterator[None]:
    """In the cluster while the block runs, off the event loop. Ray's way out takes SIGTERM's handler along;
    it is put back."""
    await asyncio.to_thread(join_cluster, address, object_store_bytes)
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        await asyncio.to_thread(leave_cluster)
        signal.signal(signal.SIGTERM, handler)


def start_actor(kind: type, environment: dict[str, str], *arguments: Any) -> Any:
    """An actor in a new process of this host, with these environment variables."""
    node = ray.get_runtime_context().get_node_id()
    actor: Any = ray.remote(kind).options(
        num_cpus=0,
        max_concurrency=1000,
        max_restarts=0,
        runtime_env={"env_vars": environment} if environment else None,
        scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
    )
    return actor.remote(*arguments)


async def make_mortal(actor: Any) -> int:
    """Let SIGTERM end an actor's process at once; returns the process's id. Ray's own way waits for tasks that never
    end, and takes no other meanwhile; only its main thread, where no actor runs, could change that through Python.

    Raises: GroupUnavailable if the actor is gone.
    """
    return int(await answer(actor.__ray_call__.remote(_end_by_sigterm)))


def _end_by_sigterm(_: Any) -> int:
    ctypes.CDLL(None).signal(int(signal.SIGTERM), int(signal.SIG_DFL))
    return os.getpid()


def end_actor(actor: Any, pid: int | None = None) -> None:
    """End an actor's process at once, by its id as well where that is known: Ray asks a process that hangs to end
    itself. Nothing happens if it is gone."""
    ray.kill(actor, no_restart=True)
    # Another process may have the id by now, or a Ray in another container counts its own.
    if pid is not None and _is_of_ray(pid):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _is_of_ray(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::")
    except OSError:
        return False


async def answer(reference: Awaitable[Any]) -> Any:
    """What an actor returned. Raises: the AlpaServeError it raised; GroupUnavailable if it is gone."""
    try:
        return await reference
    except RayTaskError as error:
        if isinstance(error.cause, AlpaServeError):
            raise error.cause from None
        raise
    except RayActorError as error:
        raise GroupUnavailable(f"an actor is gone: {error}") from None
