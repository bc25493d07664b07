"""Core values survive the way over the wire."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from alpaserve_cli.wire import model_messages, model_spec, workload_message

from services.core.placement import Group, Placement
from services.core.profile import ParallelConfig
from services.core.profile_documents import parse_profiles
from services.core.spec import Cluster, ModelSpec, Spec
from services.core.workload import Workload
from services.infra.wire import placement_message, profiles_message, to_placement, to_profiles

V100 = Path(__file__).parents[2] / "services" / "profiler" / "data" / "v100.json"


def test_profiles_come_back_without_their_note() -> None:
    document = json.loads(V100.read_text()) | {"note": "", "request_overhead_s": 0.25}
    profiles = parse_profiles(document)

    assert to_profiles(profiles_message(profiles)) == profiles


def test_a_placement_comes_back() -> None:
    groups = (Group(ParallelConfig(2, 1), (3, 1), ("m0", "m1")), Group(ParallelConfig(1, 1), (0,)))
    placement = Placement(groups, "shortest-queue")

    assert to_placement(placement_message(placement)) == placement


@pytest.mark.parametrize("slo", [{"slo_s": 0.1}, {"slo_scale": 2.5}, {}])
def test_a_model_comes_back_with_its_slo(slo: dict[str, float]) -> None:
    model = ModelSpec("m0", "bert", slo.get("slo_scale"), slo.get("slo_s"))

    messages = model_messages(Spec(Cluster(1, 1, 1), (model,)))

    assert [model_spec(message) for message in messages] == [model]


@pytest.mark.parametrize(("slo_s", "sent"), [([math.nan, math.nan], []), ([0.5, math.nan], [0.5, math.nan])])
def test_a_workload_sends_slos_only_if_a_request_has_one(slo_s: list[float], sent: list[float]) -> None:
    workload = Workload(np.array([0.0, 1.5]), np.array([1, 0], np.int32), np.array(slo_s), ("m0", "m1"))

    arrivals = workload_message(workload).arrivals

    assert list(arrivals.names) == ["m0", "m1"]
    assert list(arrivals.arrival_s) == [0.0, 1.5]
    assert list(arrivals.model) == [1, 0]
    assert np.array_equal(arrivals.slo_s, sent, equal_nan=True)
