"""The running systems that several test modules share: a start of Ray takes seconds."""

from collections.abc import Iterator

import pytest

from tests.cli.conftest import run
from tests.e2e.cluster import MEMORY_BYTES, NUM_DEVICES, Cluster, group, model, quick_profiles, running_cluster, slo

__all__ = ["run"]


@pytest.fixture(scope="session")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Emulated devices behind two routers."""
    directory = tmp_path_factory.mktemp("cluster")
    with running_cluster(
        directory, 2, quick_profiles(), executor="emulated", num_devices=NUM_DEVICES, memory_bytes=MEMORY_BYTES
    ) as cluster:
        cluster.register(model("quick"), model("hasty", service_level=slo(0.1)), model("slow", "slow"), model("idle"))
        cluster.system.start("profiler", metrics_port=cluster.metrics.new_port("profiler"))
        yield cluster


@pytest.fixture
def cluster(shared_cluster: Cluster) -> Cluster:
    """The same with three models placed: two on a pipeline, one alone."""
    shared_cluster.apply(group(2, 1, [0, 1], "quick", "hasty"), group(1, 1, [2], "slow"))
    return shared_cluster
