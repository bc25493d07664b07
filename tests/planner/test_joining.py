"""One model more, or less: where it goes, and that all else stays."""

from collections.abc import Mapping

import pytest

from services.core.errors import DoesNotFit
from services.core.placement import Group, Placement, check_placement
from services.core.profile import ModelProfile, ParallelConfig, Profiles, StageProfile
from services.core.spec import Cluster, ModelSpec, Spec
from services.planner.policies.joining import Joining, left

ALONE, PIPED = ParallelConfig(1, 1), ParallelConfig(2, 1)
NEW = ModelSpec("new", "new")


def profile(name: str, weight_bytes: Mapping[ParallelConfig, int], latency_s: float = 0.1) -> ModelProfile:
    stages = tuple(
        StageProfile(
            config=config,
            batch_size=1,
            stage_latency_s=(latency_s / config.inter_op,) * config.inter_op,
            stage_weight_bytes=(num_bytes,) * config.inter_op,
        )
        for config, num_bytes in weight_bytes.items()
    )
    return ModelProfile(name, stages, reference_latency_s=latency_s)


def joining(
    *others: ModelSpec, new: ModelSpec = NEW, profiles: tuple[ModelProfile, ...] = (), **rates: float
) -> Joining:
    """Two workers of four devices, with memory for ten bytes each; every model takes four as a 1x1 group."""
    known = {model.profile: profile(model.profile, {ALONE: 4, PIPED: 2}) for model in (*others, new)}
    known |= {one.name: one for one in profiles}
    spec = Spec(Cluster(num_devices=8, devices_per_node=4, memory_bytes=10), (*others, new))
    return Joining(spec, Profiles(known), (range(4), range(4, 8)), rates)


def model(name: str) -> ModelSpec:
    return ModelSpec(name, name)


def test_a_model_joins_the_group_that_is_least_busy() -> None:
    placement = Placement((Group(ALONE, (0,), ("a",)), Group(ALONE, (1,), ("b",))))
    joined = joining(model("a"), model("b"), a=5.0, b=1.0).joined(placement, "new")
    assert joined.groups == (placement.groups[0], Group(ALONE, (1,), ("b", "new")))


def test_without_traffic_a_model_joins_the_group_with_the_most_room() -> None:
    placement = Placement((Group(ALONE, (0,), ("a",)), Group(PIPED, (2, 3), ("b",))))
    joined = joining(model("a"), model("b")).joined(placement, "new")
    assert joined.groups[1].models == ("b", "new")


def test_a_model_that_fits_no_running_group_gets_free_devices() -> None:
    placement = Placement((Group(ALONE, (0,), ("a", "b")),))
    joined = joining(model("a"), model("b")).joined(placement, "new")
    assert joined.groups == (*placement.groups, Group(ALONE, (1,), ("new",)))


def test_the_first_model_of_all_gets_a_group() -> None:
    assert joining().joined(Placement(()), "new").groups == (Group(ALONE, (0,), ("new",)),)


def test_a_new_group_is_as_large_as_the_slo_asks() -> None:
    hurried = ModelSpec("new", "new", slo_s=0.06)
    slow_alone = profile("new", {ALONE: 4}, 0.1)
    quick_split = profile("new", {ParallelConfig(1, 2): 2}, 0.05)
    both = ModelProfile("new", slow_alone.stages + quick_split.stages, 0.1)
    joined = joining(new=hurried, profiles=(both,)).joined(Placement(()), "new")
    assert joined.groups == (Group(ParallelConfig(1, 2), (0, 1), ("new",)),)


def test_groups_without_models_make_way() -> None:
    placement = Placement((Group(ParallelConfig(4, 1), range_(0, 4)), Group(ParallelConfig(4, 1), range_(4, 8))))
    joined = joining().joined(placement, "new")
    assert joined.groups == (placement.groups[1], Group(ALONE, (0,), ("new",)))


def range_(begin: int, end: int) -> tuple[int, ...]:
    return tuple(range(begin, end))


def test_a_model_that_is_to_stand_on_two_nodes_joins_on_both() -> None:
    spread = ModelSpec("new", "new", min_nodes=2)
    placement = Placement((Group(ALONE, (0,), ("a",)), Group(ALONE, (1,), ("b",))))
    joined = joining(model("a"), model("b"), new=spread).joined(placement, "new")
    assert joined.hosts("new") == (0, 2)
    assert joined.groups[2].devices == (4,)


def test_a_pinned_model_joins_within_its_nodes() -> None:
    pinned = ModelSpec("new", "new", nodes=(1,))
    placement = Placement((Group(ALONE, (0,), ("a",)),))
    asked = joining(model("a"), new=pinned)
    joined = asked.joined(placement, "new")
    check_placement(joined, asked.spec, asked.profiles)
    assert joined.groups[1] == Group(ALONE, (4,), ("new",))


def test_a_model_that_has_its_place_changes_nothing() -> None:
    placement = Placement((Group(ALONE, (0,), ("a", "new")),))
    assert joining(model("a")).joined(placement, "new") == placement


def test_a_group_whose_worker_is_gone_takes_nothing() -> None:
    placement = Placement((Group(ALONE, (9,), ("a",)),))
    joined = joining(model("a")).joined(placement, "new")
    assert joined.groups[1] == Group(ALONE, (0,), ("new",))


def test_a_model_without_room_is_refused_with_the_figures() -> None:
    placement = Placement(tuple(Group(ALONE, (device,), ("a", "b")) for device in range(8)))
    with pytest.raises(
        DoesNotFit, match=r"'new' needs 4 bytes a device as 1x1, 2 .* as 2x1; free are 2 in a 1x1 group"
    ):
        joining(model("a"), model("b")).joined(placement, "new")


def test_a_model_that_leaves_is_on_no_group_and_the_groups_stay() -> None:
    placement = Placement((Group(ALONE, (0,), ("new",)), Group(ALONE, (1,), ("a", "new"))))
    assert left(placement, "new").groups == (Group(ALONE, (0,)), Group(ALONE, (1,), ("a",)))
