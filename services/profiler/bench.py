"""The process that measures: a Ray actor with all devices. It alone imports JAX."""

import statistics
import time
from dataclasses import dataclass
from typing import Any

import grpc.aio

from services.core.model import ModelSource
from services.core.profile import ParallelConfig, StageProfile

NUM_ROUND_TRIPS = 100


@dataclass(frozen=True, slots=True)
class Trial:
    """One config of one model to measure."""

    source: ModelSource
    config: ParallelConfig
    batch_sizes: tuple[int, ...]
    num_warmups: int
    num_repeats: int


async def echo(request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
    return request


class Bench:
    """Measures one trial at a time."""

    def __init__(self, cache_dir: str) -> None:
        self._cache_dir = cache_dir
        self._echo: grpc.aio.Server | None = None

    def device_kind(self) -> str:
        import jax

        return str(jax.devices()[0].device_kind)

    def stages(self, trial: Trial) -> list[StageProfile]:
        """One profile per batch size. Raises: InvalidModel, InvalidArgument."""
        from services.parallel.measure import measure
        from services.parallel.pipeline import JaxPipeline

        pipeline = JaxPipeline(
            inter_op=trial.config.inter_op, intra_op=trial.config.intra_op, cache_dir=self._cache_dir or None
        )
        loaded = pipeline.load("measured", trial.source, batch_sizes=trial.batch_sizes)
        profiles = []
        for batch_size in trial.batch_sizes:
            batch = [pipeline.example("measured")] * batch_size
            measured = measure(pipeline, "measured", batch, trial.num_warmups, trial.num_repeats)
            profiles.append(
                StageProfile(
                    config=trial.config,
                    batch_size=batch_size,
                    stage_latency_s=measured.stage_latency_s,
                    stage_weight_bytes=loaded.stage_weight_bytes,
                    stage_activation_bytes=loaded.stage_activation_bytes[batch_size],
                    note=f"median of {trial.num_repeats} runs; layers cut at {list(loaded.boundaries)}",
                )
            )
        pipeline.unload("measured")
        return profiles

    async def serve_echo(self) -> str:
        """Answer calls with what they carry; returns the address. Ends with the actor."""
        self._echo = server = grpc.aio.server()
        handlers = {"Echo": grpc.unary_unary_rpc_method_handler(echo)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("alpaserve.bench", handlers),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        return f"127.0.0.1:{port}"


async def overhead_s(address: str, num_bytes: int) -> float:
    """Seconds that a request spends on its way and outside the stages: two gRPC round trips of its size
    between processes of this host, client to router and router to leader."""
    async with grpc.aio.insecure_channel(address) as channel:
        call = channel.unary_unary("/alpaserve.bench/Echo", None, None)
        payload = bytes(num_bytes)
        trips = []
        for _ in range(NUM_ROUND_TRIPS):
            began_s = time.perf_counter()
            await call(payload)
            trips.append(time.perf_counter() - began_s)
    return 2 * statistics.median(trips)
