"""A request as the router took it, and its answer."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from alpaserve.v1 import leader_pb2

from services.core.errors import InvalidArgument

if TYPE_CHECKING:
    from services.router.trace import DispatchTrace

MAX_ID_BYTES = 256


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
    """What the leader served, under which placement, the finish predicted from the arrival, and when it was here."""

    served: leader_pb2.Served
    placement_version: int
    group: str
    predicted_finish_s: float
    at_s: float


def check_id(request_id: str) -> None:
    """Raises: InvalidArgument for one that is too long."""
    if (num_bytes := len(request_id.encode())) > MAX_ID_BYTES:
        raise InvalidArgument(f"a request id of {num_bytes} bytes, allowed are {MAX_ID_BYTES}")
