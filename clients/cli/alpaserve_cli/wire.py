"""What only a command sends: specs and workloads of files as messages. The rest is in `services.infra.wire`."""

from typing import Any

import numpy as np
from alpaserve.v1 import model_pb2, planner_pb2, workload_pb2

from services.core.spec import Cluster, ModelSpec, Spec
from services.core.workload import Workload


def cluster_message(cluster: Cluster) -> planner_pb2.Cluster:
    return planner_pb2.Cluster(
        num_devices=cluster.num_devices,
        devices_per_node=cluster.devices_per_node,
        memory_bytes=cluster.memory_bytes,
    )


def model_messages(spec: Spec) -> list[model_pb2.Model]:
    """The models of a spec, without sources: to plan for, not to serve."""
    return [
        model_pb2.Model(
            name=model.name,
            profile=model.profile,
            service_level=service_level(model.slo_s, model.slo_scale),
            nodes=model.nodes or (),
            min_nodes=model.min_nodes,
        )
        for model in spec.models
    ]


def service_level(slo_s: float | None, slo_scale: float | None) -> model_pb2.ServiceLevel | None:
    """None where a model has no SLO."""
    if slo_s is not None:
        level = model_pb2.ServiceLevel()
        level.slo.FromNanoseconds(round(slo_s * 1e9))
        return level
    return None if slo_scale is None else model_pb2.ServiceLevel(slo_scale=slo_scale)


def model_spec(model: model_pb2.Model) -> ModelSpec:
    """A registered model as a spec's."""
    level = model.service_level
    kind = level.WhichOneof("objective")
    return ModelSpec(
        name=model.name,
        profile=model.profile or model.name,
        slo_scale=level.slo_scale if kind == "slo_scale" else None,
        slo_s=level.slo.ToNanoseconds() / 1e9 if kind == "slo" else None,
        nodes=tuple(model.nodes) or None,
        min_nodes=model.min_nodes or 1,
    )


def workload_message(workload: Workload) -> workload_pb2.Workload:
    """Exact arrivals; SLOs only if a request has one."""
    has_slo = not np.isnan(workload.slo_s).all()
    return workload_pb2.Workload(
        arrivals=workload_pb2.Arrivals(
            names=workload.names,
            arrival_s=workload.arrival_s.tolist(),
            model=workload.model.tolist(),
            slo_s=workload.slo_s.tolist() if has_slo else (),
        )
    )


def enum_name(kind: Any, value: int) -> str:
    """What a value's name has beyond the enum's own, which the zero value tells; in small letters."""
    prefix = str(kind.Name(0)).removesuffix("UNSPECIFIED")
    return str(kind.Name(value)).removeprefix(prefix).lower()
