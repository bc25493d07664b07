"""Profiles as plain dicts of schema alpaserve.profiles/v1, and back. Unknown keys are refused."""

from dataclasses import asdict
from typing import Any, Literal

from pydantic import Field

from services.core.device import DeviceCosts, Link
from services.core.errors import InvalidProfile
from services.core.profile import Device, ModelProfile, ParallelConfig, Profiles, StageProfile
from services.core.validation import Count, Number, Strict, each, given, validated


class _StageDocument(Strict):
    inter_op: Count
    intra_op: Count
    batch_size: Count
    stage_latency_s: list[Number]
    stage_weight_bytes: list[Count]
    stage_activation_bytes: list[Count] = Field(default_factory=list)
    boundaries: list[Count] = Field(default_factory=list)
    source: str = "measured"
    note: str = ""


class _LinkDocument(Strict):
    latency_s: Number
    bytes_per_s: Number


class _CostsDocument(Strict):
    flops_per_s: Number
    bytes_per_s: Number
    operator_s: Number
    all_reduce: _LinkDocument
    all_gather: _LinkDocument
    reduce_scatter: _LinkDocument
    all_to_all: _LinkDocument
    border: _LinkDocument


class _DeviceDocument(Strict):
    kind: str = ""
    memory_bytes: Count = 0
    devices_per_node: Count = 0
    costs: _CostsDocument | None = None


class _ProfileDocument(Strict):
    model: str
    profiles: list[_StageDocument]
    reference_latency_s: Number | None = None
    request_overhead_s: Number | None = None
    costs: _CostsDocument | None = None


class _ProfilesDocument(Strict):
    version: Literal["alpaserve.profiles/v1"] = Field(alias="schema")
    device: _DeviceDocument = _DeviceDocument()
    request_overhead_s: Number = 0.0
    stage_latency_factor_per_stage: Number = 0.0
    note: str = ""
    models: list[_ProfileDocument]


def parse_profiles(document: object) -> Profiles:
    """Raises: InvalidProfile naming the key and the value."""
    parsed = validated(_ProfilesDocument, document, InvalidProfile)
    models = each("models", parsed.models, _model_profile, InvalidProfile)
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
    return {
        "schema": "alpaserve.profiles/v1",
        "device": {
            "kind": device.kind,
            "memory_bytes": device.memory_bytes,
            "devices_per_node": device.devices_per_node,
            **_costs_document(device.costs),
        },
        "request_overhead_s": profiles.request_overhead_s,
        "stage_latency_factor_per_stage": profiles.stage_latency_factor_per_stage,
        "note": profiles.note,
        "models": [_model_profile_document(profile) for profile in profiles.models.values()],
    }


def parse_stage_profile(document: object) -> StageProfile:
    """One entry of a model. Raises: InvalidProfile naming the key and the value."""
    return _stage_profile(validated(_StageDocument, document, InvalidProfile))


def stage_profile_document(stage: StageProfile) -> dict[str, Any]:
    """The inverse of `parse_stage_profile`."""
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


def parse_costs(document: object) -> DeviceCosts:
    """What a device costs; the inverse is `asdict`. Raises: InvalidProfile naming the key and the value."""
    return _costs(validated(_CostsDocument, document, InvalidProfile))


def _device(parsed: _DeviceDocument) -> Device:
    costs = None if parsed.costs is None else _costs(parsed.costs)
    return Device(parsed.kind, parsed.memory_bytes, parsed.devices_per_node, costs)


def _costs(parsed: _CostsDocument) -> DeviceCosts:
    costs = parsed.model_dump()
    links = {name: Link(**value) for name, value in costs.items() if isinstance(value, dict)}
    return DeviceCosts(**(costs | links))


def _model_profile(parsed: _ProfileDocument) -> ModelProfile:
    stages = each("profiles", parsed.profiles, _stage_profile, InvalidProfile)
    costs = None if parsed.costs is None else _costs(parsed.costs)
    return ModelProfile(parsed.model, stages, parsed.reference_latency_s, parsed.request_overhead_s, costs)


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
    stages = [stage_profile_document(stage) for stage in profile.stages]
    own = given(reference_latency_s=profile.reference_latency_s, request_overhead_s=profile.request_overhead_s)
    return {"model": profile.name, **own, **_costs_document(profile.costs), "profiles": stages}


def _costs_document(costs: DeviceCosts | None) -> dict[str, Any]:
    return {} if costs is None else {"costs": asdict(costs)}
