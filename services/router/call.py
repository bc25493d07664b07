"""A request as the router took it, and its answer."""

from dataclasses import dataclass

from alpaserve.v1 import leader_pb2


@dataclass(slots=True)
class Call:
    """`content` is the serialized InferRequest. Instants are in monotonic seconds; `slo_s` None means the model's."""

    request_id: str
    model: str
    content: bytes
    slo_s: float | None
    arrival_s: float
    expires_s: float


@dataclass(slots=True)
class Reply:
    """What the leader served, under which placement, and the finish predicted from the arrival."""

    served: leader_pb2.Served
    placement_version: int
    group: str
    predicted_finish_s: float
