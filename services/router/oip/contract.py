"""The protocol under its public name: descriptors for reflection, and the registration of a servicer."""

from collections.abc import Callable
from typing import Any

import grpc
from alpaserve.oip.v2 import inference_pb2
from google.protobuf import text_format
from google.protobuf.descriptor import FileDescriptor, MethodDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

PRIVATE, PUBLIC = "alpaserve.oip.v2", "inference"
NAME = "GRPCInferenceService"
# Calls with a tensor take their messages unread, as the door hands them over.
TAKES_BYTES = ("ModelInfer", "ModelStreamInfer")


def public_file() -> FileDescriptor:
    """The contract as everybody knows it, in a pool of its own: the process may hold another implementation."""
    ours = FileDescriptorProto.FromString(inference_pb2.DESCRIPTOR.serialized_pb)
    ours.name = f"{PUBLIC}.proto"
    text = text_format.MessageToString(ours).replace(PRIVATE, PUBLIC)
    public = text_format.Parse(text, FileDescriptorProto())
    return DescriptorPool().AddSerializedFile(public.SerializeToString())


def add_inference(servicer: Any, server: grpc.aio.Server) -> None:
    """Register `servicer` under the public name."""
    service = inference_pb2.DESCRIPTOR.services_by_name[NAME]
    handlers = {method.name: _handler(method, getattr(servicer, method.name)) for method in service.methods}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(f"{PUBLIC}.{NAME}", handlers),))


def _handler(method: MethodDescriptor, answer: Callable[..., Any]) -> Any:
    kind = {
        "ModelInfer": grpc.stream_unary_rpc_method_handler,
        "ModelStreamInfer": grpc.stream_stream_rpc_method_handler,
    }.get(method.name, grpc.unary_unary_rpc_method_handler)
    request, response = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
    read = None if method.name in TAKES_BYTES else request.FromString
    return kind(answer, read, response.SerializeToString)
