"""Which devices a new plan's groups get."""

from services.core.deployment import DeployedGroup
from services.core.placement import Group, Placement
from services.core.profile import ParallelConfig
from services.planner.alignment import aligned

PAIR, ALONE = ParallelConfig(2, 1), ParallelConfig(1, 1)


def deployed(name: str, config: ParallelConfig, devices: tuple[int, ...], *models: str) -> DeployedGroup:
    return DeployedGroup(name, config, devices, "w", "address", dict.fromkeys(models, (0.1,) * config.inter_op))


def test_a_group_takes_over_the_running_one_with_the_most_models_in_common() -> None:
    running = [deployed("g1", PAIR, (0, 1), "a", "b"), deployed("g2", PAIR, (2, 3), "c", "d")]
    target = Placement((Group(PAIR, (0, 1), ("c", "d", "a")), Group(PAIR, (2, 3), ("a", "b"))))

    placed = aligned(target, running, [range(4)])

    assert [group.devices for group in placed.groups] == [(2, 3), (0, 1)]
    assert [group.models for group in placed.groups] == [("c", "d", "a"), ("a", "b")]


def test_new_groups_share_what_the_others_leave_free() -> None:
    running = [deployed("g1", PAIR, (1, 2), "a")]
    target = Placement((Group(ALONE, (0,), ("b",)), Group(PAIR, (2, 3), ("a",)), Group(ALONE, (1,), ("c",))))

    placed = aligned(target, running, [range(4)])

    assert [group.devices for group in placed.groups] == [(0,), (1, 2), (3,)]


def test_a_group_never_crosses_nodes_to_keep_another_in_place() -> None:
    running = [deployed("g1", ALONE, (0,), "a"), deployed("g2", ALONE, (2,), "b")]
    target = Placement((Group(PAIR, (0, 1), ("c",)), Group(ALONE, (2,), ("a",)), Group(ALONE, (3,), ("b",))))

    placed = aligned(target, running, [(0, 1), (2, 3)])

    assert placed == target


def test_without_running_groups_every_group_gets_devices_of_one_node() -> None:
    target = Placement((Group(ALONE, (3,), ("a",)), Group(PAIR, (0, 1), ("b",))))

    placed = aligned(target, [], [(0, 1), (2, 3)])

    assert [group.devices for group in placed.groups] == [(2,), (0, 1)]
