"""A request as the router took it, and its answer."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from alpaserve.v1 import leader_pb2

if TYPE_CHECKING:
    from services.router.trace import DispatchTrace


@dataclass(slots=True)
class Call:
    """`content` is the serialized InferRequest. Instants are in monotonic seconds; `slo_s` None means the model's.
    `deadline_s` is known once the model is; `trace` is None where none is recorded."""

    request_id: str
    model: str
    content: bytes
    slo_s: float | None
    arrival_s: float
    expires_s: float
    deadline_s: float = math.inf
    trace: "DispatchTrace | None" = None


# Of a request that ends before it is read.
NO_CALL = Call("", "", b"", None, 0.0, math.inf)


@dataclass(slots=True)
class Reply:
    """What the leader served, under which placement, and the finish predicted from the arrival."""

    served: leader_pb2.Served
    placement_version: int
    group: str
    predicted_finish_s: float
