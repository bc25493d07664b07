"""Groups lie within a node or on whole nodes, and no device is in two."""

from hypothesis import given
from hypothesis import strategies as st

from services.core.factoring import candidate_configs
from services.core.profile import ParallelConfig
from services.core.spec import Cluster
from services.planner.policies.buckets import device_splits, latency_buckets
from services.planner.policies.partition import pack, uniform_partition
from tests.planner.problems import at, even_profile, mixed, posed, profiles, spec


def always(_config: ParallelConfig) -> bool:
    return True


@given(st.integers(1, 40), st.sampled_from([1, 2, 3, 4, 6, 8]), st.data())
def test_a_uniform_partition_uses_every_device_once(num_devices: int, per_node: int, data: st.DataObject) -> None:
    cluster = Cluster(num_devices, per_node, 1)
    config = data.draw(st.sampled_from(list(candidate_configs(cluster))))

    partition = uniform_partition(cluster, config, always)

    used = [device for devices in partition.devices for device in devices]
    assert sorted(used) == list(range(num_devices))
    for chosen, devices in zip(partition.configs, partition.devices, strict=True):
        nodes = {device // per_node for device in devices}
        assert chosen.num_devices == len(devices)
        assert len(nodes) == 1 or len(devices) == len(nodes) * per_node


def test_a_remainder_becomes_smaller_groups_of_configs_that_are_useful() -> None:
    cluster = Cluster(7, 8, 1)

    partition = uniform_partition(cluster, ParallelConfig(1, 4), lambda config: config != ParallelConfig(1, 2))

    assert [str(config) for config in partition.configs] == ["1x4", "2x1", "1x1"]


def test_groups_that_the_nodes_do_not_hold_are_not_packed() -> None:
    assert pack(Cluster(12, 6, 1), [ParallelConfig(4, 1)] * 3) is None


def test_models_of_similar_latency_share_a_bucket() -> None:
    names = {"a": 0.10, "b": 0.30, "c": 0.13, "d": 0.14, "e": 0.40}
    document = spec({name: name for name in names}, 8, 100)
    problem = posed(document, profiles(*(even_profile(n, s, 10) for n, s in names.items())), at(0.0, name="a"))

    assert latency_buckets(problem) == ((0, 2), (3,), (1, 4))


def test_splits_are_near_the_share_of_the_work() -> None:
    problem = mixed()

    splits = device_splits(problem, latency_buckets(problem))

    assert all(sum(split) == 8 and min(split) >= 1 for split in splits)
    assert 0 < len(splits) < 100
