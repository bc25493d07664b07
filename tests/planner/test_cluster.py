"""The live workers as one cluster."""

import re

import pytest

from services.core.deployment import DeployedGroup
from services.core.errors import InvalidPlacement, InvalidSpec, NotPlaced
from services.core.placement import Group, Placement
from services.core.profile import ParallelConfig
from services.core.spec import Cluster, ModelSpec, Spec
from services.infra.store.members import WorkerRecord
from services.planner.cluster import LiveCluster


def worker(name: str, first_device: int, num_devices: int, memory_bytes: int = 100) -> WorkerRecord:
    return WorkerRecord(name, f"{name}:1", "emulated", first_device, num_devices, memory_bytes)


@pytest.fixture
def cluster() -> LiveCluster:
    """Devices 0 … 3 and 8 … 9: the worker of 4 … 7 has left."""
    return LiveCluster((worker("w0", 0, 4, 90), worker("w2", 8, 2, 70)))


def test_a_plan_sees_devices_without_gaps_and_nodes_that_no_worker_crosses(cluster: LiveCluster) -> None:
    assert cluster.for_planning() == Cluster(num_devices=6, devices_per_node=2, memory_bytes=70)


def test_a_plan_is_carried_over_to_devices_that_are_there_each_group_on_one_worker(cluster: LiveCluster) -> None:
    config = ParallelConfig(2, 1)
    planned = Placement(
        (Group(config, (0, 1), ("a",)), Group(config, (2, 3), ("b",)), Group(config, (4, 5), ("c",))),
        "earliest-finish",
        8,
    )
    models = tuple(ModelSpec(name, "p") for name in "abc")
    placed = cluster.placed(planned, [], Spec(cluster.for_planning(), models))
    assert [(group.config, group.models) for group in placed.groups] == [(config, (model,)) for model in "abc"]
    assert sorted(device for group in placed.groups for device in group.devices) == [0, 1, 2, 3, 8, 9]
    assert sorted(cluster.worker_of(group).name for group in placed.groups) == ["w0", "w0", "w2"]
    assert (placed.dispatch, placed.max_batch_size) == ("earliest-finish", 8)


@pytest.mark.parametrize(("devices", "name"), [((0, 1), "w0"), ((3, 0), "w0"), ((9, 8), "w2")])
def test_a_group_runs_on_the_worker_of_its_devices(cluster: LiveCluster, devices: tuple[int, ...], name: str) -> None:
    assert cluster.worker_of(Group(ParallelConfig(2, 1), devices)).name == name


@pytest.mark.parametrize("devices", [(3, 8), (0, 5), (5, 6), (99, 0)])
def test_devices_that_are_missing_or_apart_are_named(cluster: LiveCluster, devices: tuple[int, ...]) -> None:
    with pytest.raises(InvalidPlacement, match=re.escape(f"on devices {devices}")):
        cluster.worker_of(Group(ParallelConfig(2, 1), devices))


@pytest.mark.parametrize(("devices", "missing"), [((0, 5), 5), ((5, 6), 5), ((99, 0), 99)])
def test_a_device_that_no_worker_has_is_named(cluster: LiveCluster, devices: tuple[int, ...], missing: int) -> None:
    with pytest.raises(InvalidPlacement, match=f"device {missing} is on no live worker"):
        cluster.worker_of(Group(ParallelConfig(2, 1), devices))


@pytest.mark.parametrize(("devices", "workers"), [((3, 8), "w0, w2"), ((9, 0), "w2, w0")])
def test_a_group_across_workers_is_refused_with_the_names_of_both(
    cluster: LiveCluster, devices: tuple[int, ...], workers: str
) -> None:
    with pytest.raises(InvalidPlacement) as refused:
        cluster.worker_of(Group(ParallelConfig(2, 1), devices, ("a", "b")))
    assert str(refused.value) == (
        f"group 2x1 of a, b on devices {devices} spans workers {workers}: "
        "all devices of a group must belong to one worker"
    )


def test_a_node_keeps_its_number_when_a_worker_leaves(cluster: LiveCluster) -> None:
    assert cluster.for_model(ModelSpec("a", "p", nodes=(1, 4))).nodes == (1, 2)
    assert cluster.for_model(ModelSpec("a", "p")).nodes is None
    with pytest.raises(InvalidSpec, match="'a'"):
        cluster.for_model(ModelSpec("a", "p", nodes=(2, 3)))


def test_what_models_ask_of_nodes_holds_against_running_groups_on_other_ones(cluster: LiveCluster) -> None:
    config = ParallelConfig(2, 1)
    running = [DeployedGroup("g0", config, (0, 1), "w0", "w0:1", {"a": (0.1, 0.1)})]
    planned = Placement((Group(config, (2, 3), ("a",)),))
    spec = Spec(cluster.for_planning(), (cluster.for_model(ModelSpec("a", "p", nodes=(1,))),))

    assert cluster.placed(planned, running, spec).groups[0].devices == (2, 3)


def test_without_workers_there_is_no_cluster() -> None:
    with pytest.raises(NotPlaced):
        LiveCluster(())
