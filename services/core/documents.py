"""Spec and placement as plain dicts, and back.

The schemas are alpaserve.spec/v1 and alpaserve.placement/v1. Unknown keys are refused, except in a
placement, which may carry what a plan says beside it.
"""

from typing import Any, Literal

from pydantic import Field

from services.core.errors import InvalidPlacement, InvalidSpec
from services.core.placement import DEFAULT_DISPATCH, Group, Placement
from services.core.profile import ParallelConfig
from services.core.spec import Cluster, ModelSpec, Spec
from services.core.validation import Count, Lenient, Number, Strict, each, given, validated


class _ClusterDocument(Strict):
    num_devices: Count
    devices_per_node: Count
    memory_bytes: Count


class _ModelDocument(Strict):
    name: str
    profile: str
    slo_scale: Number | None = None
    slo_s: Number | None = None
    nodes: list[Count] | None = None
    min_nodes: Count = 1


class _SpecDocument(Strict):
    version: Literal["alpaserve.spec/v1"] = Field(alias="schema")
    cluster: _ClusterDocument
    models: list[_ModelDocument]


class _GroupDocument(Lenient):
    inter_op: Count
    intra_op: Count
    devices: list[Count]
    models: list[str]


class _PlacementDocument(Lenient):
    version: Literal["alpaserve.placement/v1"] = Field(alias="schema")
    groups: list[_GroupDocument]
    dispatch: str = DEFAULT_DISPATCH
    max_batch_size: Count = 1


def parse_spec(document: object) -> Spec:
    """Raises: InvalidSpec naming the key and the value."""
    parsed = validated(_SpecDocument, document, InvalidSpec)
    cluster = Cluster(**parsed.cluster.model_dump())
    return Spec(cluster, tuple(_model_spec(model) for model in parsed.models))


def spec_document(spec: Spec) -> dict[str, Any]:
    """The inverse of `parse_spec`; what a model does not ask for is left out."""
    cluster = spec.cluster
    return {
        "schema": "alpaserve.spec/v1",
        "cluster": {
            "num_devices": cluster.num_devices,
            "devices_per_node": cluster.devices_per_node,
            "memory_bytes": cluster.memory_bytes,
        },
        "models": [_model_spec_document(model) for model in spec.models],
    }


def parse_placement(document: object) -> Placement:
    """Raises: InvalidPlacement naming the key and the value. Whether it fits, `check_placement` says."""
    parsed = validated(_PlacementDocument, document, InvalidPlacement)
    groups = each("groups", parsed.groups, _group, InvalidPlacement)
    return Placement(groups, parsed.dispatch, parsed.max_batch_size)


def placement_document(placement: Placement) -> dict[str, Any]:
    """The inverse of `parse_placement`."""
    batching = {"max_batch_size": placement.max_batch_size} if placement.max_batch_size > 1 else {}
    return {
        "schema": "alpaserve.placement/v1",
        "dispatch": placement.dispatch,
        **batching,
        "groups": [
            {
                "inter_op": group.config.inter_op,
                "intra_op": group.config.intra_op,
                "devices": list(group.devices),
                "models": list(group.models),
            }
            for group in placement.groups
        ],
    }


def _model_spec(parsed: _ModelDocument) -> ModelSpec:
    fields = parsed.model_dump(exclude={"nodes"})
    return ModelSpec(**fields, nodes=None if parsed.nodes is None else tuple(parsed.nodes))


def _model_spec_document(model: ModelSpec) -> dict[str, Any]:
    nodes = {} if model.nodes is None else {"nodes": list(model.nodes)}
    spread = {"min_nodes": model.min_nodes} if model.min_nodes > 1 else {}
    level = given(slo_scale=model.slo_scale, slo_s=model.slo_s)
    return {"name": model.name, "profile": model.profile} | level | nodes | spread


def _group(parsed: _GroupDocument) -> Group:
    config = ParallelConfig(parsed.inter_op, parsed.intra_op)
    return Group(config, tuple(parsed.devices), tuple(parsed.models))
