"""Requests of the Open Inference Protocol that make no sense are told why, with the offending value."""

from typing import Any

import grpc
import pytest
from alpaserve.oip.v2 import inference_pb2 as pb

from tests.e2e.cluster import Cluster
from tests.e2e.open_inference import SERVICE, ask

Input = pb.ModelInferRequest.InferInputTensor
INVALID, NOT_FOUND = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
NO_CONTENTS = pb.InferTensorContents()


def typed(says: str, datatype: str, shape: list[int], **contents: list[Any]) -> tuple[grpc.StatusCode, str, Any]:
    given = Input(name="x", datatype=datatype, shape=shape, contents=pb.InferTensorContents(**contents))
    return INVALID, says, {"inputs": [given]}


def raw(says: str, datatype: str, shape: list[int], data: bytes) -> tuple[grpc.StatusCode, str, Any]:
    given = Input(name="x", datatype=datatype, shape=shape)
    return INVALID, says, {"inputs": [given], "raw_input_contents": [data]}


def asking(says: str, name: str, **value: Any) -> tuple[grpc.StatusCode, str, Any]:
    return INVALID, says, {"parameters": {name: pb.InferParameter(**value)}}


FP32 = Input(name="x", datatype="FP32", shape=[1])
ONE = pb.InferTensorContents(fp32_contents=[1.0])
SHARED = {"shared_memory_region": pb.InferParameter(string_param="r1")}
MALFORMED = (
    (NOT_FOUND, "no model 'stranger' is registered", {"model_name": "stranger"}),
    (NOT_FOUND, "model 'quick' has no version '2', only '1'", {"model_version": "2"}),
    (INVALID, "model_name is empty", {"model_name": ""}),
    raw("input 'x' has the unknown datatype 'FLOAT'; there are: BOOL", "FLOAT", [1], b"1234"),
    raw("tensor of float32 and shape (3,) needs 12 bytes, got 11", "FP32", [3], bytes(11)),
    raw("input 'x': shape [-1, 4] has a negative length", "FP32", [-1, 4], bytes(16)),
    raw("tensor of bfloat16 and shape () needs 2 bytes, got 1", "BF16", [], b"1"),
    raw("8 bytes of strings end within string 1", "BYTES", [2], b"\1\0\0\0a\2\0\0"),
    raw("tensor of strings and shape (2,): 2 strings take 8 bytes at least, got 5", "BYTES", [2], b"\1\0\0\0a"),
    raw("tensor of bool holds the byte 7", "BOOL", [1], b"\7"),
    raw("input 'x' has 65 dimensions, more than 64", "INT8", [1] * 65, b"1"),
    typed("input 'x': shape [3] needs 3 elements of FP32, got 2", "FP32", [3], fp32_contents=[1.0, 2.0]),
    typed("input 'x': shape [2] needs 2 elements of FP16, got 0", "FP16", [2]),
    typed("has 1 fp32_contents; those of INT32 go into int_contents", "INT32", [1], fp32_contents=[1.0]),
    typed("has 1 fp32_contents; those of FP16 go into raw_input_contents", "FP16", [1], fp32_contents=[1.0]),
    typed("input 'x': Python integer 300 out of bounds for int8", "INT8", [1], int_contents=[300]),
    (INVALID, "1 raw_input_contents for 2 inputs", {"inputs": [FP32, FP32], "raw_input_contents": [b"1234"]}),
    (INVALID, "'x' is given twice", {"inputs": [FP32, FP32], "raw_input_contents": [b"1234", b"1234"]}),
    (
        INVALID,
        "'x' has contents beside raw_input_contents",
        {"inputs": [Input(name="x", datatype="FP32", shape=[1], contents=ONE)], "raw_input_contents": [b"1234"]},
    ),
    (INVALID, "no output 'z'; there are: none", {"outputs": [{"name": "z"}]}),
    (INVALID, "'shared_memory_region', 'r1', asks for what is not", {"inputs": [Input(name="x", parameters=SHARED)]}),
    asking("'sequence_id', 7, asks for what is not served", "sequence_id", int64_param=7),
    asking("'timeout' must be a whole number of µs, not negative, got -5", "timeout", int64_param=-5),
    asking("'timeout' must be a whole number of µs, not negative, got 'soon'", "timeout", string_param="soon"),
    asking("'timeout' must be a whole number of µs, not negative, got 1.5", "timeout", double_param=1.5),
    asking("'timeout' must be a whole number of µs, not negative, got True", "timeout", bool_param=True),
    asking("'timeout' must be a whole number of µs, not negative, got '1", "timeout", string_param="1" + "0" * 400),
)


@pytest.mark.parametrize(("code", "says", "fields"), MALFORMED, ids=[says for _, says, _ in MALFORMED])
def test_a_malformed_request_is_told_its_status_and_the_offending_value(
    cluster: Cluster, code: grpc.StatusCode, says: str, fields: dict[str, Any]
) -> None:
    request = pb.ModelInferRequest(**{"model_name": "quick", **fields})
    with pytest.raises(grpc.RpcError) as refused:
        ask(cluster.channel(cluster.routers[0]), request)
    error: Any = refused.value
    assert error.code() is code
    assert says in error.details()


@pytest.mark.parametrize("method", ["ModelInfer", "ModelMetadata", "RepositoryModelLoad"])
def test_bytes_that_are_no_message_are_an_invalid_argument(cluster: Cluster, method: str) -> None:
    call: Any = cluster.channel(cluster.routers[0]).unary_unary(f"/{SERVICE}/{method}", None, None)
    with pytest.raises(grpc.RpcError, match="3 bytes that are no") as refused:
        call(b"\xff\xff\xff", timeout=10)
    error: Any = refused.value
    assert error.code() is INVALID


def test_a_timeout_may_be_text_and_none_is_the_models_own(cluster: Cluster) -> None:
    channel = cluster.channel(cluster.routers[0])
    patient = {"timeout": pb.InferParameter(string_param="20000000")}
    unset = {"timeout": pb.InferParameter(uint64_param=0)}
    assert ask(channel, pb.ModelInferRequest(model_name="quick", parameters=patient)).model_name == "quick"
    assert ask(channel, pb.ModelInferRequest(model_name="quick", parameters=unset)).model_name == "quick"
