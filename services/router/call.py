"""A request as the router took it, and its answer."""

from collections.abc import Mapping
from dataclasses import dataclass

from alpaserve.v1 import leader_pb2, tensor_pb2


@dataclass(frozen=True, slots=True)
class Call:
    """Instants are in monotonic seconds; `slo_s` None means the model's. `num_bytes` is what it took on the wire."""

    request_id: str
    model: str
    inputs: Mapping[str, tensor_pb2.Tensor]
    slo_s: float | None
    arrival_s: float
    expires_s: float
    num_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Reply:
    """What the leader served, under which placement, and the finish predicted from the arrival."""

    served: leader_pb2.Served
    placement_version: int
    group: str
    predicted_finish_s: float
