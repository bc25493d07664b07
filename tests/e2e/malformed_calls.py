"""Calls that no state of the system accepts, and what each of them is told."""

import json
from dataclasses import dataclass
from typing import Any

import grpc
from alpaserve.v1 import model_pb2, placement_pb2, planner_pb2, profiler_pb2, router_pb2, tensor_pb2
from google.protobuf import duration_pb2
from google.protobuf.message import Message
from grpc import StatusCode

from tests.e2e.cluster import group, quick_profiles


@dataclass(frozen=True)
class Malformed:
    """A call, its status, and the offending value that the status's message names."""

    service: str
    method: str
    request: Message
    code: StatusCode
    says: str

    def __str__(self) -> str:
        return f"{self.method}: {self.says}"


def refusal(channel: grpc.Channel, service: str, method: str, content: bytes) -> tuple[StatusCode, str]:
    """Status and message that a call with these bytes ends with."""
    send: Any = channel.unary_stream(f"/alpaserve.v1.{service}/{method}", None, None)
    answer: Any = send(content, timeout=20)
    return answer.code(), str(answer.details())


def infer(code: StatusCode, says: str, model_name: str = "quick", **fields: Any) -> Malformed:
    return Malformed("Router", "Infer", router_pb2.InferRequest(model=model_name, **fields), code, says)


def tensor(says: str, dtype: int, shape: list[int], data: bytes) -> Malformed:
    sent = tensor_pb2.Tensor(dtype=tensor_pb2.DataType.ValueType(dtype), shape=shape, data=data)
    return infer(StatusCode.INVALID_ARGUMENT, f"input 'x': {says}", inputs={"x": sent})


def register(code: StatusCode, says: str, **fields: Any) -> Malformed:
    request = planner_pb2.RegisterModelRequest(model=model_pb2.Model(**fields))
    return Malformed("Planner", "RegisterModel", request, code, says)


def apply(code: StatusCode, says: str, *groups: placement_pb2.Group, dispatch: str = "") -> Malformed:
    placement = placement_pb2.Placement(groups=groups, dispatch=dispatch)
    return Malformed("Planner", "ApplyPlan", planner_pb2.ApplyPlanRequest(placement=placement), code, says)


def imported(says: str, content: bytes) -> Malformed:
    request = profiler_pb2.ImportProfileRequest(profiles_json=content)
    return Malformed("Profiler", "ImportProfile", request, StatusCode.INVALID_ARGUMENT, says)


def profiles_with(**stage: object) -> bytes:
    """A well-formed document but for one stage's fields."""
    document = quick_profiles()
    document["models"][0]["profiles"][0].update(stage)
    return json.dumps(document).encode()


FP32 = tensor_pb2.DATA_TYPE_FP32
BOOL = tensor_pb2.DATA_TYPE_BOOL
NEGATIVE = duration_pb2.Duration(seconds=-2)
ZERO = duration_pb2.Duration()

INFER = (
    tensor("tensor has the unknown element type 0", 0, [1], b"\0"),
    tensor("tensor has the unknown element type 99", 99, [1], b"\0"),
    tensor("tensor shape (-1, 4) has a negative length", FP32, [-1, 4], bytes(16)),
    tensor("tensor of float32 and shape (3,) needs 12 bytes, got 11", FP32, [3], bytes(11)),
    tensor("tensor of float32 and shape (3,) needs 12 bytes, got 0", FP32, [3], b""),
    tensor("tensor of float32 and shape () needs 4 bytes, got 0", FP32, [], b""),
    tensor("tensor of float32 and shape (4611686018427387904, 4611686018427387904) needs", FP32, [2**62, 2**62], b"1"),
    tensor("tensor of bool holds the byte 7", BOOL, [2], b"\1\7"),
    tensor("tensor has 65 dimensions", FP32, [1] * 65, bytes(4)),
    infer(StatusCode.INVALID_ARGUMENT, "slo must be positive, got -2.0 s", slo=NEGATIVE),
    infer(StatusCode.INVALID_ARGUMENT, "slo must be positive, got 0.0 s", slo=ZERO),
    infer(StatusCode.INVALID_ARGUMENT, "model is empty", ""),
    infer(StatusCode.NOT_FOUND, "'stranger'", "stranger"),
    infer(StatusCode.NOT_FOUND, "'../\\n\\x00'", "../\n\0"),
    infer(StatusCode.FAILED_PRECONDITION, "'idle'", "idle"),
)

REGISTER = (
    register(StatusCode.INVALID_ARGUMENT, "a model needs a name", profile="quick"),
    register(
        StatusCode.INVALID_ARGUMENT,
        "slo of model 'm' must be positive, got -2.0 s",
        name="m",
        service_level=model_pb2.ServiceLevel(slo=NEGATIVE),
    ),
    register(
        StatusCode.INVALID_ARGUMENT,
        "slo_scale must be positive, got -5.0",
        name="m",
        service_level=model_pb2.ServiceLevel(slo_scale=-5),
    ),
    register(
        StatusCode.INVALID_ARGUMENT,
        "slo_scale must be positive, got nan",
        name="m",
        service_level=model_pb2.ServiceLevel(slo_scale=float("nan")),
    ),
    register(
        StatusCode.ALREADY_EXISTS,
        "model 'quick' is registered with another source",
        name="quick",
        source=model_pb2.ModelSource(checkpoint="/elsewhere"),
    ),
    Malformed(
        "Planner",
        "RemoveModel",
        planner_pb2.RemoveModelRequest(name="stranger"),
        StatusCode.NOT_FOUND,
        "no model 'stranger' is registered",
    ),
    Malformed(
        "Planner",
        "RemoveModel",
        planner_pb2.RemoveModelRequest(name="quick"),
        StatusCode.FAILED_PRECONDITION,
        "model 'quick' is still on g",
    ),
)

APPLY = (
    apply(StatusCode.INVALID_ARGUMENT, "a placement needs at least one group"),
    apply(StatusCode.INVALID_ARGUMENT, "group 0 has no parallel config", placement_pb2.Group(devices=[0])),
    apply(StatusCode.INVALID_ARGUMENT, "a 2x1 group needs 2 devices, got (0,)", group(2, 1, [0], "quick")),
    apply(StatusCode.INVALID_ARGUMENT, "device 1 is in 2 groups", group(2, 1, [0, 1]), group(1, 1, [1], "quick")),
    apply(StatusCode.INVALID_ARGUMENT, "device 99", group(1, 1, [99], "quick")),
    apply(StatusCode.INVALID_ARGUMENT, "holds model 'quick' twice", group(1, 1, [0], "quick", "quick")),
    apply(StatusCode.INVALID_ARGUMENT, "unknown dispatch 'fastest'", group(1, 1, [0], "quick"), dispatch="fastest"),
    apply(StatusCode.NOT_FOUND, "no model 'stranger' is registered", group(1, 1, [0], "stranger")),
    apply(StatusCode.NOT_FOUND, "profile 'quick' has no config 8x1", group(8, 1, range(8), "quick")),
    apply(
        StatusCode.FAILED_PRECONDITION,
        "holds 18000000000 bytes a device (quick, hasty, slow, idle, wide, tall), more than memory_bytes 16000000000",
        group(1, 1, [0], "quick", "hasty", "slow", "idle", "wide", "tall"),
    ),
    Malformed(
        "Planner",
        "GetPlacement",
        planner_pb2.GetPlacementRequest(version=10**9),
        StatusCode.INVALID_ARGUMENT,
        "1000000000",
    ),
    Malformed(
        "Planner",
        "RollbackPlacement",
        planner_pb2.RollbackPlacementRequest(version=10**9),
        StatusCode.INVALID_ARGUMENT,
        "1000000000",
    ),
)

PROFILES = (
    Malformed(
        "Profiler",
        "ImportProfile",
        profiler_pb2.ImportProfileRequest(),
        StatusCode.INVALID_ARGUMENT,
        "content is empty",
    ),
    imported("the profile is not JSON", b"models: []"),
    imported("the profile is not JSON", b"\xff\xfe\x00"),
    imported("the profile is not JSON", b"[" * 100_000),
    imported("expected an object with keys, got [1]", b"[1]"),
    imported("schema: ", b'{"schema": "alpaserve.profiles/v2", "models": []}'),
    imported("colour", b'{"schema": "alpaserve.profiles/v1", "models": [], "colour": 1}'),
    imported("stage latency -0.1 is not a duration", profiles_with(stage_latency_s=[-0.1])),
    imported("finite number", profiles_with(stage_latency_s=[float("nan")])),
    imported("2 stage latencies", profiles_with(stage_latency_s=[0.1, 0.2])),
    imported("batch_size must be at least 1", profiles_with(batch_size=0)),
    imported("parallel config 0x1", profiles_with(inter_op=0, stage_latency_s=[], stage_weight_bytes=[])),
    Malformed(
        "Profiler",
        "GetProfile",
        profiler_pb2.GetProfileRequest(name="stranger"),
        StatusCode.NOT_FOUND,
        "no profile 'stranger' is stored",
    ),
    Malformed(
        "Profiler",
        "Profile",
        profiler_pb2.ProfileRequest(model="stranger"),
        StatusCode.NOT_FOUND,
        "no model 'stranger' is registered",
    ),
    Malformed(
        "Profiler",
        "Profile",
        profiler_pb2.ProfileRequest(model="quick"),
        StatusCode.INVALID_ARGUMENT,
        "model 'quick' has no source to measure",
    ),
)

MALFORMED = INFER + REGISTER + APPLY + PROFILES
