"""Between protobuf messages and core values. Tensors are in `alpaserve_client.tensors`."""

from alpaserve.v1 import model_pb2, placement_pb2, planner_pb2, profile_pb2
from google.protobuf import duration_pb2

from services.core.deployment import DeployedGroup, Deployment
from services.core.device import DeviceCosts, Link
from services.core.errors import InvalidArgument, InvalidPlacement
from services.core.model import DTYPES, ModelSource, RegisteredModel
from services.core.placement import DEFAULT_DISPATCH, Group, Placement
from services.core.profile import Device, ModelProfile, ParallelConfig, Profiles, StageProfile
from services.core.spec import Cluster

DEFAULT_SEQUENCE_LENGTH = 128


def duration_s(duration: duration_pb2.Duration, name: str) -> float:
    """Seconds of a duration. Raises: InvalidArgument if it is not positive."""
    seconds = (duration.seconds * 10**9 + duration.nanos) / 1e9
    if not seconds > 0:
        raise InvalidArgument(f"{name} must be positive, got {seconds} s")
    return seconds


def to_duration(seconds: float) -> duration_pb2.Duration:
    message = duration_pb2.Duration()
    message.FromNanoseconds(round(seconds * 1e9))
    return message


def to_config(message: model_pb2.ParallelConfig) -> ParallelConfig:
    return ParallelConfig(message.inter_op, message.intra_op)


def config_message(config: ParallelConfig) -> model_pb2.ParallelConfig:
    return model_pb2.ParallelConfig(inter_op=config.inter_op, intra_op=config.intra_op)


def to_source(message: model_pb2.ModelSource) -> ModelSource:
    return ModelSource(
        checkpoint=message.checkpoint,
        config=message.config_json,
        seed=message.seed,
        sequence_length=message.sequence_length or DEFAULT_SEQUENCE_LENGTH,
        dtype=message.dtype or DTYPES[0],
    )


def source_message(source: ModelSource) -> model_pb2.ModelSource:
    message = model_pb2.ModelSource(seed=source.seed, sequence_length=source.sequence_length, dtype=source.dtype)
    if source.checkpoint:
        message.checkpoint = source.checkpoint
    else:
        message.config_json = source.config
    return message


def to_model(message: model_pb2.Model) -> RegisteredModel:
    """Raises: InvalidSpec, InvalidModel, InvalidArgument, naming the offending value."""
    if not message.name:
        raise InvalidArgument("a model needs a name")
    level = message.service_level
    objective = level.WhichOneof("objective")
    return RegisteredModel(
        name=message.name,
        profile=message.profile or message.name,
        source=to_source(message.source) if message.source.WhichOneof("source") else None,
        slo_s=duration_s(level.slo, f"slo of model {message.name!r}") if objective == "slo" else None,
        slo_scale=level.slo_scale if objective == "slo_scale" else None,
        idempotent=message.idempotent if message.HasField("idempotent") else True,
        nodes=tuple(message.nodes) or None,
        min_nodes=message.min_nodes or 1,
    )


def model_message(model: RegisteredModel) -> model_pb2.Model:
    message = model_pb2.Model(
        name=model.name,
        profile=model.profile,
        idempotent=model.idempotent,
        nodes=model.nodes or (),
        min_nodes=model.min_nodes,
    )
    if model.source is not None:
        message.source.CopyFrom(source_message(model.source))
    if model.slo_s is not None:
        message.service_level.slo.CopyFrom(to_duration(model.slo_s))
    if model.slo_scale is not None:
        message.service_level.slo_scale = model.slo_scale
    return message


def to_placement(message: placement_pb2.Placement) -> Placement:
    """Raises: InvalidPlacement, naming the offending value."""
    groups = []
    for index, group in enumerate(message.groups):
        if not (group.config.inter_op and group.config.intra_op):
            raise InvalidPlacement(f"group {index} has no parallel config")
        groups.append(Group(to_config(group.config), tuple(group.devices), tuple(group.models)))
    return Placement(tuple(groups), message.dispatch or DEFAULT_DISPATCH, message.max_batch_size or 1)


def placement_message(placement: Placement, policy: str = "") -> placement_pb2.Placement:
    groups = [group_message(group) for group in placement.groups]
    return placement_pb2.Placement(
        groups=groups, dispatch=placement.dispatch, policy=policy, max_batch_size=placement.max_batch_size
    )


def deployment_message(deployment: Deployment) -> placement_pb2.Placement:
    return placement_pb2.Placement(
        version=deployment.version,
        groups=[deployed_group_message(group) for group in deployment.groups],
        dispatch=deployment.dispatch,
        policy=deployment.policy,
        max_batch_size=deployment.max_batch_size,
    )


def group_message(group: Group) -> placement_pb2.Group:
    return placement_pb2.Group(config=config_message(group.config), devices=group.devices, models=group.models)


def deployed_group_message(group: DeployedGroup) -> placement_pb2.Group:
    return placement_pb2.Group(
        name=group.name,
        config=config_message(group.config),
        devices=group.devices,
        models=tuple(group.replicas),
        address=group.address,
        worker=group.worker,
    )


def to_cluster(message: planner_pb2.Cluster) -> Cluster:
    return Cluster(message.num_devices, message.devices_per_node, message.memory_bytes)


def to_stage_profile(message: profile_pb2.StageProfile) -> StageProfile:
    return StageProfile(
        config=to_config(message.config),
        batch_size=message.batch_size,
        stage_latency_s=tuple(message.stage_latency_s),
        stage_weight_bytes=tuple(message.stage_weight_bytes),
        stage_activation_bytes=tuple(message.stage_activation_bytes),
        source=message.source or "measured",
        note=message.note,
        boundaries=tuple(message.boundaries),
    )


def stage_profile_message(stage: StageProfile) -> profile_pb2.StageProfile:
    return profile_pb2.StageProfile(
        config=config_message(stage.config),
        batch_size=stage.batch_size,
        stage_latency_s=stage.stage_latency_s,
        stage_weight_bytes=stage.stage_weight_bytes,
        stage_activation_bytes=stage.stage_activation_bytes,
        source=stage.source,
        note=stage.note,
        boundaries=stage.boundaries,
    )


def to_profiles(message: profile_pb2.ProfileSet) -> Profiles:
    costs = to_device_costs(message.device_costs) if message.HasField("device_costs") else None
    return Profiles(
        models={model.name: to_model_profile(model) for model in message.models},
        device=Device(message.device_kind, message.memory_bytes, message.devices_per_node, costs),
        request_overhead_s=message.request_overhead_s,
        stage_latency_factor_per_stage=message.stage_latency_factor_per_stage,
    )


def to_model_profile(message: profile_pb2.ModelProfile) -> ModelProfile:
    return ModelProfile(
        name=message.name,
        stages=tuple(to_stage_profile(stage) for stage in message.stages),
        reference_latency_s=message.reference_latency_s if message.HasField("reference_latency_s") else None,
        request_overhead_s=message.request_overhead_s if message.HasField("request_overhead_s") else None,
        costs=to_device_costs(message.device_costs) if message.HasField("device_costs") else None,
    )


def model_profile_message(profile: ModelProfile) -> profile_pb2.ModelProfile:
    return profile_pb2.ModelProfile(
        name=profile.name,
        stages=map(stage_profile_message, profile.stages),
        reference_latency_s=profile.reference_latency_s,
        request_overhead_s=profile.request_overhead_s,
        device_costs=None if profile.costs is None else device_costs_message(profile.costs),
    )


def profiles_message(profiles: Profiles) -> profile_pb2.ProfileSet:
    return profile_pb2.ProfileSet(
        models=[model_profile_message(profiles[name]) for name in profiles],
        device_kind=profiles.device.kind,
        memory_bytes=profiles.device.memory_bytes,
        devices_per_node=profiles.device.devices_per_node,
        request_overhead_s=profiles.request_overhead_s,
        stage_latency_factor_per_stage=profiles.stage_latency_factor_per_stage,
        device_costs=None if profiles.device.costs is None else device_costs_message(profiles.device.costs),
    )


def to_device_costs(message: profile_pb2.DeviceCosts) -> DeviceCosts:
    """Raises: InvalidProfile, naming the offending value."""
    return DeviceCosts(
        flops_per_s=message.flops_per_s,
        bytes_per_s=message.bytes_per_s,
        operator_s=message.operator_s,
        all_reduce=to_link(message.all_reduce),
        all_gather=to_link(message.all_gather),
        reduce_scatter=to_link(message.reduce_scatter),
        all_to_all=to_link(message.all_to_all),
        border=to_link(message.border),
    )


def device_costs_message(costs: DeviceCosts) -> profile_pb2.DeviceCosts:
    return profile_pb2.DeviceCosts(
        flops_per_s=costs.flops_per_s,
        bytes_per_s=costs.bytes_per_s,
        operator_s=costs.operator_s,
        all_reduce=link_message(costs.all_reduce),
        all_gather=link_message(costs.all_gather),
        reduce_scatter=link_message(costs.reduce_scatter),
        all_to_all=link_message(costs.all_to_all),
        border=link_message(costs.border),
    )


def to_link(message: profile_pb2.Link) -> Link:
    return Link(message.latency_s, message.bytes_per_s)


def link_message(link: Link) -> profile_pb2.Link:
    return profile_pb2.Link(latency_s=link.latency_s, bytes_per_s=link.bytes_per_s)
