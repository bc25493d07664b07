"""One inference: the request that is sent, however often, and the answer as arrays."""

import math
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from alpaserve.v1 import router_pb2
from numpy.typing import ArrayLike, NDArray

from alpaserve_client.tensors import decode_tensor, encode_tensor


@dataclass(frozen=True, slots=True)
class StageRun:
    """When a stage ran a request, in seconds since its arrival at the group, and how long the profile says that it
    takes."""

    begin_s: float
    end_s: float
    profiled_s: float


@dataclass(frozen=True, slots=True)
class InferResult:
    """The answer to one request.

    `queue_time_s` was spent waiting in the group, `execution_time_s` running in its `stages`;
    `predicted_finish_s` is what admission predicted, counted from the arrival at the router, and
    `batch_size` how many requests ran at once, this one included. It was `group_time_s` from the
    arrival at the group to the answer, and `router_time_s` from that at the router.
    """

    outputs: dict[str, NDArray[Any]]
    request_id: str
    placement_version: int
    group: str
    queue_time_s: float
    execution_time_s: float
    predicted_finish_s: float
    batch_size: int = 1
    stages: tuple[StageRun, ...] = ()
    group_time_s: float = 0.0
    router_time_s: float = 0.0


class Inference:
    """One request under way: every try carries the same id and what is left of its times."""

    def __init__(
        self, model: str, inputs: Mapping[str, ArrayLike], slo_s: float | None, request_id: str, timeout_s: float
    ) -> None:
        """Raises: ValueError for times that are none, or an input that cannot be sent."""
        if slo_s is not None and not math.isfinite(slo_s):
            raise ValueError(f"slo_s must be finite, got {slo_s}")
        if not timeout_s > 0:
            raise ValueError(f"timeout_s must be positive, got {timeout_s}")
        self._timeout_s = timeout_s
        self._slo_s = slo_s
        self._num_tries = 0
        self._begun_s = time.monotonic()
        self._request = router_pb2.InferRequest(
            model=model,
            inputs={name: encode_tensor(array) for name, array in inputs.items()},
            request_id=request_id or uuid.uuid4().hex,
        )
        if slo_s is not None:
            self._request.slo.FromNanoseconds(round(slo_s * 1e9))

    @property
    def model(self) -> str:
        return str(self._request.model)

    @property
    def request_id(self) -> str:
        return str(self._request.request_id)

    @property
    def patience_s(self) -> float:
        """After this long, another try is pointless."""
        return self._timeout_s if self._slo_s is None else min(self._timeout_s, self._slo_s)

    def remaining_s(self) -> float:
        """What is left of the timeout, never below zero."""
        return max(self._timeout_s - self._elapsed_s(), 0.0)

    def next_request(self) -> router_pb2.InferRequest:
        """The message of the next try; the SLO of a further one is what the earlier ones left of it."""
        self._num_tries += 1
        if self._slo_s is not None and self._num_tries > 1:
            self._request.slo.FromNanoseconds(round(max(self._slo_s - self._elapsed_s(), 0.0) * 1e9))
        return self._request

    def _elapsed_s(self) -> float:
        return time.monotonic() - self._begun_s


def result_of(response: router_pb2.InferResponse) -> InferResult:
    """Raises: ValueError if an output is malformed."""
    return InferResult(
        outputs={name: decode_tensor(tensor) for name, tensor in response.outputs.items()},
        request_id=response.request_id,
        placement_version=response.placement_version,
        group=response.group,
        queue_time_s=response.queue_time_s,
        execution_time_s=response.execution_time_s,
        predicted_finish_s=response.predicted_finish_s,
        batch_size=response.batch_size or 1,
        stages=tuple(StageRun(run.begin_s, run.end_s, run.profiled_s) for run in response.stages),
        group_time_s=response.group_time_s,
        router_time_s=response.router_time_s,
    )
