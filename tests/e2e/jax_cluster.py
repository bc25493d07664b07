"""Real models, tiny ones, on real (host) devices."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alpaserve.v1 import model_pb2

from tests.e2e.cluster import Cluster, running_cluster

PROFILES = {
    "schema": "alpaserve.profiles/v1",
    "models": [
        {
            "model": "tiny",
            "profiles": [
                {
                    "inter_op": inter_op,
                    "intra_op": 1,
                    "batch_size": 1,
                    "stage_latency_s": [0.01] * inter_op,
                    "stage_weight_bytes": [20_000] * inter_op,
                }
                for inter_op in (1, 2)
            ],
        }
    ],
}


def source(config: str) -> model_pb2.ModelSource:
    return model_pb2.ModelSource(config_json=config, seed=7, sequence_length=8)


@contextmanager
def jax_cluster(directory: Path, num_devices: int) -> Iterator[Cluster]:
    """A running system behind one router, which knows the profile `tiny`."""
    with running_cluster(
        directory,
        1,
        PROFILES,
        executor="jax",
        num_devices=num_devices,
        memory_bytes=1_000_000,
        cache_dir=directory / "compiled",
    ) as running:
        yield running
