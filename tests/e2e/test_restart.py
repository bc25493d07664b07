"""A leader's process that is killed under load: every request ends with a definite status, and its worker alone
brings it back."""

from collections.abc import Iterator

import numpy as np
import pytest

from tests.e2e.cluster import Cluster, group, model
from tests.e2e.killing import LATE, OUTAGE, Inputs, Traffic, killed_under_load, num_arrivals, state
from tests.waiting import until

# A heavy request takes 1.5 s, so that some are always under way.
ASKED = ("brisk",) * 18 + ("heavy", "unrepeatable")
PLACED = (group(2, 1, [0, 1], "brisk"), group(1, 1, [2], "heavy"), group(1, 1, [3], "unrepeatable"))


@pytest.fixture
def emulated(shared_cluster: Cluster) -> Iterator[Cluster]:
    """One process leads the groups of three models."""
    shared_cluster.register(model("brisk"), model("heavy", "slow"), model("unrepeatable", "slow", idempotent=False))
    shared_cluster.apply(*PLACED)
    yield shared_cluster
    shared_cluster.apply(group(1, 1, [0], "quick"))
    for name in set(ASKED):
        shared_cluster.planning.remove_model(name)


def numbered(number: int) -> Inputs:
    return {"x": np.array([number], dtype=np.int64)}


async def test_a_leader_that_is_killed_under_load_loses_no_request_and_comes_back_by_itself(emulated: Cluster) -> None:
    before = state(emulated)
    async with emulated.client(0) as first, emulated.client(1) as second:
        traffic = Traffic((first, second), ASKED, numbered)
        await killed_under_load(emulated, "brisk", traffic)
    assert {number: len(ends) for number, ends in traffic.ends.items()} == dict.fromkeys(range(traffic.num_sent), 1)
    assert {number: end.outputs["x"].tolist() for number, end in traffic.served().items()} == {
        number: [number] for number in traffic.served()
    }
    assert traffic.kinds("brisk") - LATE - {"Unavailable OUTCOME_UNKNOWN"} == OUTAGE
    assert traffic.kinds("heavy") - LATE - OUTAGE == {"Unavailable OUTCOME_UNKNOWN"}
    assert traffic.kinds("unrepeatable") - LATE - OUTAGE == {"Aborted OUTCOME_UNKNOWN"}
    assert state(emulated) == before
    await until(lambda: num_arrivals(emulated, ASKED) == traffic.num_asked())
