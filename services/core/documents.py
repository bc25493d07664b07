"""Documents to core dataclasses and back: spec, placement and profiles as plain dicts.

The schemas are alpaserve.spec/v1, alpaserve.placement/v1 and alpaserve.profiles/v1. Unknown keys
are refused, except in a placement, which may carry what a plan says beside it.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from services.core.device import DeviceCosts, Link
from services.core.errors import AlpaServeError, InvalidPlacement, InvalidProfile, InvalidSpec
from services.core.placement import DEFAULT_DISPATCH, Group, Placement
from services.core.profile import Device, ModelProfile, ParallelConfig, Profiles, StageProfile
from services.core.spec import Cluster, ModelSpec, Spec

_INT64_MAX = 2**63 - 1
_SHOWN_CHARACTERS = 80


def _whole(value: object) -> object:
    """14e9 is a count as well: YAML and JSON writers do not always keep integers apart."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Count = Annotated[int, BeforeValidator(_whole), Field(ge=0, le=_INT64_MAX)]
Number = Annotated[float, Field(allow_inf_nan=False)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Lenient(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)


class _ClusterDocument(_Strict):
    num_devices: Count
    devices_per_node: Count
    memory_bytes: Count


class _ModelDocument(_Strict):
    name: str
    profile: str
    slo_scale: Number | None = None
    slo_s: Number | None = None
    nodes: list[Count] | None = None
    min_nodes: Count = 1


class _SpecDocument(_Strict):
    version: Literal["alpaserve.spec/v1"] = Field(alias="schema")
    cluster: _ClusterDocument
    models: list[_ModelDocument]


class _GroupDocument(_Lenient):
    inter_op: Count
    intra_op: Count
    devices: list[Count]
    models: list[str]


class _PlacementDocument(_Lenient):
    version: Literal["alpaserve.placement/v1"] = Field(alias="schema")
    groups: list[_GroupDocument]
    dispatch: str = DEFAULT_DISPATCH
    max_batch_size: Count = 1


class _StageDocument(_Strict):
    inter_op: Count
    intra_op: Count
    batch_size: Count
    stage_latency_s: list[Number]
    stage_weight_bytes: list[Count]
    stage_activation_bytes: list[Count] = []
    boundaries: list[Count] = []
    source: str = "measured"
    note: str = ""


class _ProfileDocument(_Strict):
    model: str
    profiles: list[_StageDocument]
    reference_latency_s: Number | None = None


class _LinkDocument(_Strict):
    latency_s: Number
    bytes_per_s: Number


class _CostsDocument(_Strict):
    flops_per_s: Number
    bytes_per_s: Number
    operator_s: Number
    all_reduce: _LinkDocument
    all_gather: _LinkDocument
    reduce_scatter: _LinkDocument
    all_to_all: _LinkDocument
    border: _LinkDocument


class _DeviceDocument(_Strict):
    kind: str = ""
    memory_bytes: Count = 0
    devices_per_node: Count = 0
    costs: _CostsDocument | None = None


class _ProfilesDocument(_Strict):
    version: Literal["alpaserve.profiles/v1"] = Field(alias="schema")
    device: _DeviceDocument = _DeviceDocument()
    request_overhead_s: Number = 0.0
    stage_latency_factor_per_stage: Number = 0.0
    note: str = ""
    models: list[_ProfileDocument]


_DocumentT = TypeVar("_DocumentT", bound=BaseModel)
_FieldT = TypeVar("_FieldT")


def parse_spec(document: object) -> Spec:
    """Raises: InvalidSpec naming the key and the value."""
    parsed = _validated(_SpecDocument, document, InvalidSpec)
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
    parsed = _validated(_PlacementDocument, document, InvalidPlacement)
    groups = _each("groups", parsed.groups, _group, InvalidPlacement)
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


def parse_profiles(document: object) -> Profiles:
    """Raises: InvalidProfile naming the key and the value."""
    parsed = _validated(_ProfilesDocument, document, InvalidProfile)
    models = _each("models", parsed.models, _model_profile, InvalidProfile)
    names = [model.name for model in models]
    for name in names:
        if names.count(name) > 1:
            raise InvalidProfile(f"profile {name!r} is listed twice")
    return Profiles(
        models={model.name: model for model in models},
        device=_device(parsed.device),
        request_overhead_s=parsed.request_overhead_s,
        stage_latency_factor_per_stage=parsed.stage_latency_factor_per_stage,
        note=parsed.note,
    )


def profiles_document(profiles: Profiles) -> dict[str, Any]:
    """The inverse of `parse_profiles`."""
    device = profiles.device
    costs = {} if device.costs is None else {"costs": asdict(device.costs)}
    return {
        "schema": "alpaserve.profiles/v1",
        "device": {
            "kind": device.kind,
            "memory_bytes": device.memory_bytes,
            "devices_per_node": device.devices_per_node,
            **costs,
        },
        "request_overhead_s": profiles.request_overhead_s,
        "stage_latency_factor_per_stage": profiles.stage_latency_factor_per_stage,
        "note": profiles.note,
        "models": [_model_profile_document(profile) for profile in profiles.models.values()],
    }


def _model_spec(parsed: _ModelDocument) -> ModelSpec:
    fields = parsed.model_dump(exclude={"nodes"})
    return ModelSpec(**fields, nodes=None if parsed.nodes is None else tuple(parsed.nodes))


def _model_spec_document(model: ModelSpec) -> dict[str, Any]:
    nodes = {} if model.nodes is None else {"nodes": list(model.nodes)}
    spread = {"min_nodes": model.min_nodes} if model.min_nodes > 1 else {}
    level = _given(slo_scale=model.slo_scale, slo_s=model.slo_s)
    return {"name": model.name, "profile": model.profile} | level | nodes | spread


def _group(parsed: _GroupDocument) -> Group:
    config = ParallelConfig(parsed.inter_op, parsed.intra_op)
    return Group(config, tuple(parsed.devices), tuple(parsed.models))


def _device(parsed: _DeviceDocument) -> Device:
    fields = parsed.model_dump(exclude={"costs"})
    if parsed.costs is None:
        return Device(**fields)
    costs = parsed.costs.model_dump()
    links = {name: Link(**value) for name, value in costs.items() if isinstance(value, dict)}
    return Device(**fields, costs=DeviceCosts(**(costs | links)))


def _model_profile(parsed: _ProfileDocument) -> ModelProfile:
    stages = _each("profiles", parsed.profiles, _stage_profile, InvalidProfile)
    return ModelProfile(parsed.model, stages, parsed.reference_latency_s)


def _stage_profile(parsed: _StageDocument) -> StageProfile:
    return StageProfile(
        config=ParallelConfig(parsed.inter_op, parsed.intra_op),
        batch_size=parsed.batch_size,
        stage_latency_s=tuple(parsed.stage_latency_s),
        stage_weight_bytes=tuple(parsed.stage_weight_bytes),
        stage_activation_bytes=tuple(parsed.stage_activation_bytes),
        source=parsed.source,
        note=parsed.note,
        boundaries=tuple(parsed.boundaries),
    )


def _model_profile_document(profile: ModelProfile) -> dict[str, Any]:
    stages = [_stage_profile_document(stage) for stage in profile.stages]
    reference = _given(reference_latency_s=profile.reference_latency_s)
    return {"model": profile.name, **reference, "profiles": stages}


def _stage_profile_document(stage: StageProfile) -> dict[str, Any]:
    document: dict[str, Any] = {
        "inter_op": stage.config.inter_op,
        "intra_op": stage.config.intra_op,
        "batch_size": stage.batch_size,
        "stage_latency_s": list(stage.stage_latency_s),
        "stage_weight_bytes": list(stage.stage_weight_bytes),
    }
    if stage.stage_activation_bytes:
        document["stage_activation_bytes"] = list(stage.stage_activation_bytes)
    if stage.boundaries:
        document["boundaries"] = list(stage.boundaries)
    return document | {"source": stage.source, "note": stage.note}


def _given(**fields: float | None) -> dict[str, float]:
    return {key: value for key, value in fields.items() if value is not None}


def _each(
    key: str,
    parsed: Iterable[_DocumentT],
    build: Callable[[_DocumentT], _FieldT],
    error: type[AlpaServeError],
) -> tuple[_FieldT, ...]:
    """Build every item; what an item refuses is raised as `error`, with the item's place before it."""
    built = []
    for index, item in enumerate(parsed):
        try:
            built.append(build(item))
        except AlpaServeError as refusal:
            raise error(f"{key}[{index}]: {refusal}") from None
    return tuple(built)


def _validated(kind: type[_DocumentT], document: object, error: type[AlpaServeError]) -> _DocumentT:
    if not isinstance(document, Mapping):
        raise error(f"expected an object with keys, got {_shown(document)}")
    try:
        return kind.model_validate(document)
    except ValidationError as refusal:
        first = refusal.errors(include_url=False)[0]
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).lstrip(".")
    shown = "" if first["type"] == "missing" else f", got {_shown(first['input'])}"
    raise error(f"{path}: {first['msg']}{shown}")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"
