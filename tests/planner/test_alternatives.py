"""Other places for a model: all of them, really simulated."""

import itertools

import numpy as np
import pytest

from services.core.batched_simulator import attained_share
from services.core.documents import parse_placement, parse_spec
from services.core.errors import InvalidSpec
from services.core.placement import Placement
from services.core.problem import Problem, pose
from services.core.profile_documents import parse_profiles
from services.core.workload import Workload, workload_from_arrivals
from services.planner.policies.alternatives import alternatives

SPEC = {
    "schema": "alpaserve.spec/v1",
    "cluster": {"num_devices": 3, "devices_per_node": 3, "memory_bytes": 20},
    "models": [{"name": name, "profile": "p", "slo_s": 1.5} for name in ("busy", "calm", "idle")],
}
PROFILE = {"inter_op": 1, "intra_op": 1, "batch_size": 1, "stage_latency_s": [1.0], "stage_weight_bytes": [10]}
PROFILES = {"schema": "alpaserve.profiles/v1", "models": [{"model": "p", "profiles": [PROFILE]}]}


def load() -> Workload:
    """`busy` has a request a second, `calm` one of ten, at the same instants."""
    return workload_from_arrivals({"busy": np.arange(20.0), "calm": np.array([0.0, 10.0])})


def problem() -> Problem:
    return pose(parse_spec(SPEC), parse_profiles(PROFILES), load())


def placed(*models: tuple[str, ...]) -> Placement:
    groups = [{"inter_op": 1, "intra_op": 1, "devices": [n], "models": list(own)} for n, own in enumerate(models)]
    return parse_placement({"schema": "alpaserve.placement/v1", "groups": groups})


def never() -> bool:
    return False


def test_the_runner_up_is_the_best_place_elsewhere_and_says_what_it_loses() -> None:
    found = alternatives(problem(), placed(("busy",), ("calm",), ()), "busy", never)

    assert (found.attainment, found.own_attainment) == (1.0, 1.0)
    worse = next(one for one in found.tried if (one.change, one.there) == ("moved", 1))
    assert worse.attainment == attained_share(problem(), placed((), ("calm", "busy"), ()))
    assert worse.attainment < 1
    assert found.runner_up is not None
    assert (found.runner_up.there, found.runner_up.attainment) == (2, 1.0)


def test_what_a_replica_is_worth_is_what_dropping_it_loses() -> None:
    found = alternatives(problem(), placed(("busy",), ("calm",), ()), "busy", never)

    dropped = next(one for one in found.tried if one.change == "dropped")
    assert (dropped.attainment, dropped.own_attainment) == (2 / 22, 0.0)


def test_where_memory_is_full_models_change_places() -> None:
    found = alternatives(problem(), placed(("busy",), ("calm", "idle"), ("calm", "idle")), "busy", never)

    assert found.runner_up is not None
    assert (found.runner_up.change, found.runner_up.attainment) == ("swapped", 1.0)
    assert {one.other for one in found.tried if one.change == "swapped"} == {"calm", "idle"}
    assert found.num_unfit == 4


def test_a_model_that_is_placed_nowhere_learns_where_it_could_go() -> None:
    found = alternatives(problem(), placed(("busy",), ("calm", "idle"), ()), "calm", never)
    nowhere = alternatives(problem(), placed(("calm",), ("idle",), ("calm", "idle")), "busy", never)

    assert found.tried[0].attainment >= found.attainment
    assert (nowhere.attainment, nowhere.own_attainment) == (2 / 22, 0.0)
    assert {one.change for one in nowhere.tried} == {"added", "displaced"}
    assert nowhere.tried[0].attainment > nowhere.attainment
    assert nowhere.runner_up is None


def test_a_search_that_is_over_counts_what_it_left() -> None:
    calls = itertools.count()

    found = alternatives(problem(), placed(("busy",), ("calm",), ()), "busy", lambda: next(calls) >= 1)

    assert len(found.tried) == 1
    assert found.num_left > 0


def test_an_unknown_model_is_named() -> None:
    with pytest.raises(InvalidSpec, match="'other'"):
        alternatives(problem(), placed(("busy",)), "other", never)
