"""Documents become what they say, back again, or an error that names the key and the value."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from services.core.documents import parse_placement, parse_spec, placement_document, spec_document
from services.core.errors import AlpaServeError, InvalidPlacement, InvalidProfile, InvalidSpec
from services.core.profile import ParallelConfig
from services.core.profile_documents import parse_profiles, profiles_document
from tests.core.cases import Case, cases

SHIPPED = sorted((Path(__file__).parents[2] / "services/profiler/data").glob("*.json"))
SPEC: dict[str, Any] = {
    "schema": "alpaserve.spec/v1",
    "cluster": {"num_devices": 2, "devices_per_node": 2, "memory_bytes": 100},
    "models": [{"name": "m0", "profile": "p", "slo_s": 0.5}, {"name": "m1", "profile": "p"}],
}
PLACEMENT: dict[str, Any] = {
    "schema": "alpaserve.placement/v1",
    "groups": [{"inter_op": 2, "intra_op": 1, "devices": [0, 1], "models": ["m0"]}],
}
ENTRY: dict[str, Any] = {
    "inter_op": 1,
    "intra_op": 1,
    "batch_size": 1,
    "stage_latency_s": [0.1],
    "stage_weight_bytes": [10],
}
PROFILES: dict[str, Any] = {
    "schema": "alpaserve.profiles/v1",
    "models": [{"model": "p", "profiles": [ENTRY], "reference_latency_s": 0.2}],
}


def changed(document: dict[str, Any], path: tuple[str | int, ...], value: object) -> dict[str, Any]:
    """A copy with the item at `path` set, or removed if the value is None."""
    result: Any = copy.deepcopy(document)
    parent = result
    for part in path[:-1]:
        parent = parent[part]
    if value is None:
        del parent[path[-1]]
    else:
        parent[path[-1]] = value
    return result  # type: ignore[no-any-return]


@settings(max_examples=50, deadline=None)
@given(cases())
def test_documents_round_trip(case: Case) -> None:
    spec, profiles, placement = parse_spec(case.spec), parse_profiles(case.profiles), case.placement

    assert parse_spec(json.loads(json.dumps(spec_document(spec)))) == spec
    assert parse_profiles(json.loads(json.dumps(profiles_document(profiles)))) == profiles
    assert parse_placement(json.loads(json.dumps(placement_document(placement)))) == placement


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_the_profiles_we_ship_round_trip(path: Path) -> None:
    document = json.loads(path.read_text())

    assert profiles_document(parse_profiles(document)) == document


def test_optional_fields_of_a_profile_survive() -> None:
    document = changed(PROFILES, ("models", 0, "profiles", 0, "stage_activation_bytes"), [7])

    profile = parse_profiles(document)["p"]

    assert profile.reference_latency_s == 0.2
    assert profile.at(ParallelConfig(1, 1)).stage_activation_bytes == (7,)
    assert parse_profiles(profiles_document(parse_profiles(document)))["p"] == profile


def test_a_placement_may_carry_what_a_plan_says() -> None:
    placement = parse_placement(PLACEMENT | {"policy": "alpaserve", "attainment": 0.9, "dispatch": "shortest-queue"})

    assert placement.dispatch == "shortest-queue"


def test_what_models_ask_of_nodes_survives() -> None:
    document = changed(SPEC, ("cluster", "devices_per_node"), 1)
    document["models"][0] |= {"nodes": [1, 0], "min_nodes": 2}

    spec = parse_spec(document)

    assert (spec.models[0].nodes, spec.models[0].min_nodes) == ((1, 0), 2)
    assert (spec.models[1].nodes, spec.models[1].min_nodes) == (None, 1)
    assert spec_document(spec) == document


def test_more_nodes_than_a_model_may_use_are_not_asked_for() -> None:
    document = changed(SPEC, ("cluster", "devices_per_node"), 1)
    document["models"][0] |= {"nodes": [1], "min_nodes": 2}

    with pytest.raises(InvalidSpec, match="min_nodes is 2, its nodes are"):
        parse_spec(document)


def test_whole_floats_are_counts() -> None:
    assert parse_spec(changed(SPEC, ("cluster", "memory_bytes"), 14e9)).cluster.memory_bytes == 14_000_000_000


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        (("schema",), "alpaserve.spec/v2", "schema"),
        (("schema",), None, "schema"),
        (("extra",), 1, "extra"),
        (("cluster", "num_devices"), 0, "num_devices"),
        (("cluster", "num_devices"), -3, "-3"),
        (("cluster", "num_devices"), 1.5, "1.5"),
        (("cluster", "num_devices"), "8", "'8'"),
        (("cluster", "num_devices"), True, "True"),
        (("cluster", "memory_bytes"), 1e30, "memory_bytes"),
        (("cluster", "memory"), 5, "cluster.memory"),
        (("models",), [], "at least one model"),
        (("models", 0, "slo_s"), float("nan"), "models[0].slo_s"),
        (("models", 0, "slo_s"), float("inf"), "inf"),
        (("models", 0, "slo_s"), -1.0, "-1.0"),
        (("models", 0, "slo_s"), 0, "'m0'"),
        (("models", 0, "slo_scale"), 5, "both"),
        (("models", 1, "name"), "m0", "twice"),
        (("models", 1, "name"), 7, "models[1].name"),
        (("models", 1, "slo"), 7, "models[1].slo"),
        (("models", 1, "profile"), None, "models[1].profile"),
        (("models", 1, "nodes"), [1], "no node 1"),
        (("models", 1, "nodes"), [0, 0], "node 0 is listed twice"),
        (("models", 1, "nodes"), [], "nodes is empty"),
        (("models", 1, "nodes"), [-1], "models[1].nodes[0]"),
        (("models", 1, "nodes"), 0, "models[1].nodes"),
        (("models", 1, "min_nodes"), 0, "min_nodes must be at least 1, got 0"),
        (("models", 1, "min_nodes"), 2, "min_nodes is 2, the cluster has 1"),
        (("models", 1, "min_node"), 1, "models[1].min_node"),
    ],
)
def test_a_spec_that_is_not_well_formed_is_refused_by_name(
    path: tuple[str | int, ...], value: object, named: str
) -> None:
    with pytest.raises(InvalidSpec) as refusal:
        parse_spec(changed(SPEC, path, value))

    assert named in str(refusal.value)


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        (("groups",), None, "groups"),
        (("groups", 0, "devices"), [0], "groups[0]"),
        (("groups", 0, "devices"), [0, 0], "device 0"),
        (("groups", 0, "devices"), [0, -1], "-1"),
        (("groups", 0, "models"), ["m0", "m0"], "twice"),
        (("groups", 0, "inter_op"), 0, "groups[0]"),
        (("groups", 0, "inter_op"), "2", "groups[0].inter_op"),
        (("dispatch",), "random", "'random'"),
    ],
)
def test_a_placement_that_is_not_well_formed_is_refused_by_name(
    path: tuple[str | int, ...], value: object, named: str
) -> None:
    with pytest.raises(InvalidPlacement) as refusal:
        parse_placement(changed(PLACEMENT, path, value))

    assert named in str(refusal.value)


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        (("models", 0, "profiles", 0, "stage_latency_s"), [], "0 stage latencies"),
        (("models", 0, "profiles", 0, "stage_latency_s"), [-0.1], "-0.1"),
        (("models", 0, "profiles", 0, "stage_latency_s"), [float("nan")], "stage_latency_s[0]"),
        (("models", 0, "profiles", 0, "stage_weight_bytes"), [1.5], "1.5"),
        (("models", 0, "profiles", 0, "batch_size"), 0, "batch_size"),
        (("models", 0, "profiles", 0, "latency"), 1, "latency"),
        (("models", 0, "profiles"), [ENTRY, ENTRY], "twice"),
        (("models",), [PROFILES["models"][0]] * 2, "'p' is listed twice"),
        (("models", 0, "weights"), 1, "models[0].weights"),
        (("request_overhead_s",), -0.1, "request_overhead_s"),
        (("stage_latency_factor_per_stage",), float("inf"), "stage_latency_factor_per_stage"),
    ],
)
def test_profiles_that_are_not_well_formed_are_refused_by_name(
    path: tuple[str | int, ...], value: object, named: str
) -> None:
    with pytest.raises(InvalidProfile) as refusal:
        parse_profiles(changed(PROFILES, path, value))

    assert named in str(refusal.value)


@pytest.mark.parametrize("parse", [parse_spec, parse_placement, parse_profiles])
@pytest.mark.parametrize("document", [None, [], "text", 3, {}])
def test_what_is_no_document_is_refused(parse: Any, document: object) -> None:
    with pytest.raises(AlpaServeError):
        parse(document)
