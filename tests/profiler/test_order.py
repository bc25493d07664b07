"""What an order asks for, and which measurements may stand for each other."""

from dataclasses import replace

import pytest

from services.core.errors import InvalidArgument, InvalidModel
from services.core.model import ModelSource, RegisteredModel
from services.core.profile import ParallelConfig
from services.core.spec import Cluster
from services.profiler.order import Conditions, Order, fingerprint

MODEL = RegisteredModel("m", "m", ModelSource(config="{}"))
CONDITIONS = Conditions("cpu", 4, {"jax": "1"}, 3, 20)


@pytest.mark.parametrize(
    ("num_devices", "configs"),
    [(1, "1x1"), (2, "1x1 2x1 1x2"), (3, "1x1 2x1 1x2"), (4, "1x1 2x1 1x2 4x1 2x2 1x4")],
)
def test_without_configs_all_that_a_group_may_have_are_ordered(num_devices: int, configs: str) -> None:
    found = Order(MODEL).configs_on(Cluster(num_devices, num_devices, 1))

    assert [str(config) for config in found] == configs.split()


def test_configs_that_are_named_are_ordered_once_and_smallest_first() -> None:
    named = tuple(ParallelConfig(*shape) for shape in ((2, 2), (1, 1), (3, 1), (1, 1)))

    found = Order(MODEL, named).configs_on(Cluster(4, 4, 1))

    assert [str(config) for config in found] == ["1x1", "3x1", "2x2"]


def test_what_no_cluster_could_run_is_refused() -> None:
    with pytest.raises(InvalidModel, match="model 'm' has no source"):
        Order(replace(MODEL, source=None))
    with pytest.raises(InvalidArgument, match="got 0"):
        Order(MODEL, batch_sizes=(1, 0))
    with pytest.raises(InvalidArgument, match="config 4x2 needs more than the 4 devices"):
        Order(MODEL, (ParallelConfig(4, 2),)).configs_on(Cluster(4, 4, 1))


@pytest.mark.parametrize(
    ("source", "conditions"),
    [
        (ModelSource(config="{}", seed=1), CONDITIONS),
        (ModelSource(config="{}", dtype="bfloat16"), CONDITIONS),
        (ModelSource(config="{}"), replace(CONDITIONS, device_kind="gpu")),
        (ModelSource(config="{}"), replace(CONDITIONS, versions={"jax": "2"})),
        (ModelSource(config="{}"), replace(CONDITIONS, num_repeats=21)),
    ],
)
def test_measurements_under_other_conditions_do_not_stand_for_each_other(
    source: ModelSource, conditions: Conditions
) -> None:
    assert fingerprint(source, conditions) != fingerprint(ModelSource(config="{}"), CONDITIONS)
    assert fingerprint(source, conditions) == fingerprint(source, replace(conditions))
