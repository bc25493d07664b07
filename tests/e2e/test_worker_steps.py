"""The steps that a planner asks of a worker: each may be repeated, and each refusal names its figures."""

from collections.abc import Iterator, Sequence

import grpc
import pytest
from alpaserve.v1 import model_pb2, worker_pb2, worker_pb2_grpc

from tests.e2e.cluster import MEMORY_BYTES, NUM_DEVICES, Cluster, group

GROUP = "by-hand"


@pytest.fixture
def worker(shared_cluster: Cluster) -> Iterator[worker_pb2_grpc.WorkerStub]:
    """A worker with one group of two stages that nobody else knows."""
    shared_cluster.apply(group(1, 1, [7], "quick"))
    stub = worker_pb2_grpc.WorkerStub(shared_cluster.channel(shared_cluster.worker))
    stub.FormGroup(forming(GROUP, 2, [0, 1]), timeout=30)
    yield stub
    stub.DissolveGroup(worker_pb2.DissolveGroupRequest(group=GROUP), timeout=30)


def forming(name: str, inter_op: int, devices: Sequence[int]) -> worker_pb2.FormGroupRequest:
    config = model_pb2.ParallelConfig(inter_op=inter_op, intra_op=1)
    return worker_pb2.FormGroupRequest(group=name, config=config, local_devices=devices)


def loading(
    name: str, *, num_bytes: int = 1000, num_stages: int = 2, where: str = GROUP
) -> worker_pb2.LoadModelRequest:
    return worker_pb2.LoadModelRequest(
        group=where,
        model=model_pb2.Model(name=name),
        stage_latency_s=[0.1] * num_stages,
        stage_weight_bytes=[num_bytes] * num_stages,
    )


def running(worker: worker_pb2_grpc.WorkerStub) -> list[worker_pb2.RunningGroup]:
    status = worker.GetWorkerStatus(worker_pb2.GetWorkerStatusRequest(), timeout=10)
    return [one for one in status.groups if 7 not in one.local_devices]


def used_bytes(worker: worker_pb2_grpc.WorkerStub) -> list[int]:
    status = worker.GetWorkerStatus(worker_pb2.GetWorkerStatusRequest(), timeout=10)
    return list(status.used_bytes[:7])


def test_forming_again_changes_nothing(worker: worker_pb2_grpc.WorkerStub) -> None:
    before = running(worker)
    again = worker.FormGroup(forming(GROUP, 2, [0, 1]), timeout=10)
    assert [(one.group, one.address) for one in before] == [(GROUP, again.address)]
    assert running(worker) == before


def test_loading_again_holds_the_weights_once_and_unloading_gives_them_back(
    worker: worker_pb2_grpc.WorkerStub,
) -> None:
    worker.LoadModel(loading("a"), timeout=10)
    worker.LoadModel(loading("a"), timeout=10)
    (loaded,), held = running(worker), used_bytes(worker)
    for _ in range(2):
        worker.UnloadModel(worker_pb2.UnloadModelRequest(group=GROUP, model="a"), timeout=10)
    assert list(loaded.models) == ["a"]
    assert held == [1000, 1000, 0, 0, 0, 0, 0]
    assert sum(used_bytes(worker)) == 0


def test_dissolving_gives_everything_back_and_may_be_repeated(worker: worker_pb2_grpc.WorkerStub) -> None:
    worker.LoadModel(loading("a"), timeout=10)
    for _ in range(2):
        worker.DissolveGroup(worker_pb2.DissolveGroupRequest(group=GROUP), timeout=10)
    assert running(worker) == []
    assert sum(used_bytes(worker)) == 0


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        (forming(GROUP, 1, [0]), "group 'by-hand' runs 2x1 on devices (0, 1)"),
        (forming("new", 2, [0]), "group 'new' needs 2 devices, got (0,)"),
        (forming("new", 2, [3, 3]), "group 'new' needs 2 devices, got (3, 3)"),
        (forming("new", 1, [NUM_DEVICES]), "group 'new' uses device 8 of 8"),
        (forming("new", 0, []), "0x1"),
    ],
)
def test_a_group_that_cannot_be_formed_is_refused(
    worker: worker_pb2_grpc.WorkerStub, request_: worker_pb2.FormGroupRequest, says: str
) -> None:
    with pytest.raises(grpc.RpcError, match="INVALID_ARGUMENT") as refused:
        worker.FormGroup(request_, timeout=10)
    assert says in str(refused.value)
    assert len(running(worker)) == 1


@pytest.mark.parametrize(
    ("request_", "code", "says"),
    [
        (loading("a", where="nowhere"), "UNAVAILABLE", "group 'nowhere' does not run here"),
        (loading("a", num_stages=3), "INVALID_ARGUMENT", "3 stage latencies for a 2x1 group"),
        (loading("a", num_stages=0), "INVALID_ARGUMENT", "stage_weight_bytes is empty"),
        (
            loading("a", num_bytes=MEMORY_BYTES + 1),
            "FAILED_PRECONDITION",
            f"needs {MEMORY_BYTES + 1} bytes on device 0, where 0 of {MEMORY_BYTES} are in use",
        ),
    ],
)
def test_a_model_that_cannot_be_loaded_is_refused_and_holds_nothing(
    worker: worker_pb2_grpc.WorkerStub, request_: worker_pb2.LoadModelRequest, code: str, says: str
) -> None:
    with pytest.raises(grpc.RpcError, match=code) as refused:
        worker.LoadModel(request_, timeout=10)
    assert says in str(refused.value)
    assert sum(used_bytes(worker)) == 0
