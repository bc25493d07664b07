"""What a user of KServe's Python client does; runs in an environment of its own, with the router's address, and prints
what came back as JSON."""

import asyncio
import json
import sys
from typing import Any

import grpc
import numpy as np
from kserve import InferenceGRPCClient, InferInput, InferRequest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub
from numpy.typing import NDArray

ARRAYS: dict[str, NDArray[Any]] = {
    "FP32": np.array([[1.5, -2.0]], np.float32),
    "FP16": np.array([0.5, 8.0], np.float16),
    "INT64": np.array(2**40, np.int64),
    "BOOL": np.array([True, False]),
    "UINT8": np.zeros((0, 3), np.uint8),
    "BYTES": np.array([b"one", b""], np.object_),
}


def raw_request() -> InferRequest:
    inputs = [InferInput(name, list(array.shape), datatype=name) for name, array in ARRAYS.items()]
    for one in inputs:
        one.set_data_from_numpy(ARRAYS[one.name], binary_data=True)
    return InferRequest("quick", inputs, request_id="raw")


def typed_request() -> InferRequest:
    inputs = [
        InferInput("ints", [2], "INT32", [3, -4]),
        InferInput("texts", [1], "BYTES", ["Zoë"]),
        InferInput("floats", [1, 1], "FP64", [0.25]),
    ]
    return InferRequest("quick", inputs, request_id="typed", parameters={"timeout": 20_000_000})


async def session(address: str) -> dict[str, Any]:
    async with InferenceGRPCClient(address) as client:
        raw, typed = await client.infer(raw_request()), await client.infer(typed_request())
        told = {
            "live": await client.is_server_live(),
            "ready": await client.is_server_ready(),
            "models": {name: await client.is_model_ready(name) for name in ("quick", "idle", "stranger")},
            "raw": {one.name: same(one.as_numpy(), ARRAYS[one.name]) for one in raw.outputs},
            "typed": {one.name: one.data for one in typed.outputs if one.datatype != "BYTES"},
            "texts": [one.data[0].decode() for one in typed.outputs if one.datatype == "BYTES"],
            "ids": [raw.id, typed.id],
            "group": raw.parameters["group"].string_param,
            "hasty": await refused(client, InferRequest("slow", raw_request().inputs, parameters={"timeout": 200_000})),
            "stranger": await refused(client, InferRequest("stranger", raw_request().inputs)),
        }
    async with grpc.aio.insecure_channel(address) as channel:
        stub = GRPCInferenceServiceStub(channel)
        metadata = await stub.ModelMetadata(pb.ModelMetadataRequest(name="quick"))
        loaded = await stub.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name="idle"))
        ready = await stub.ModelReady(pb.ModelReadyRequest(name="idle"))
        unloaded = await stub.RepositoryModelUnload(pb.RepositoryModelUnloadRequest(model_name="idle"))
        left = await stub.ModelReady(pb.ModelReadyRequest(name="idle"))
    changes = [loaded.model_name, loaded.isLoaded, ready.ready, unloaded.isUnloaded, left.ready]
    return {**told, "platform": metadata.platform, "changes": changes}


def same(one: NDArray[Any], other: NDArray[Any]) -> bool:
    return one.dtype == other.dtype and one.shape == other.shape and one.tolist() == other.tolist()


async def refused(client: InferenceGRPCClient, request: InferRequest) -> str:
    try:
        await client.infer(request)
    except grpc.RpcError as error:
        return str(error.code().name)
    return "OK"


if __name__ == "__main__":
    print(json.dumps(asyncio.run(session(sys.argv[1]))))
