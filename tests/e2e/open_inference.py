"""Requests of the Open Inference Protocol as clients make them, and a model that answers at once."""

from typing import Any

import grpc
from alpaserve.oip.v2 import inference_pb2 as pb
from numpy.typing import NDArray
from tritonclient import grpc as triton
from tritonclient.utils import np_to_triton_dtype

from tests.e2e.cluster import Cluster, model, quick_profiles, store_profiles

INSTANT = "instant"
SERVICE = "inference.GRPCInferenceService"


def given(**arrays: NDArray[Any]) -> list[triton.InferInput]:
    """Inputs by name, for Triton's client."""
    inputs = []
    for name, array in arrays.items():
        inputs.append(triton.InferInput(name, array.shape, np_to_triton_dtype(array.dtype)))
        inputs[-1].set_data_from_numpy(array)
    return inputs


def with_instant(cluster: Cluster) -> None:
    """Register a model that echoes within a fraction of a millisecond."""
    document = quick_profiles()
    document["models"] = [{**document["models"][0], "model": INSTANT}]
    for stages in document["models"][0]["profiles"]:
        stages["stage_latency_s"] = [1e-4] * stages["inter_op"]
        stages["stage_weight_bytes"] = [1] * stages["inter_op"]
    store_profiles(cluster.redis.url, document)
    cluster.register(model(INSTANT, INSTANT))


def ask(channel: grpc.Channel, request: pb.ModelInferRequest) -> pb.ModelInferResponse:
    """Raises: grpc.RpcError."""
    infer: Any = channel.unary_unary(
        f"/{SERVICE}/ModelInfer", pb.ModelInferRequest.SerializeToString, pb.ModelInferResponse.FromString
    )
    answer: pb.ModelInferResponse = infer(request, timeout=30)
    return answer
