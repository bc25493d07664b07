"""The protocol under its public name: descriptors for reflection, and the registration of a servicer."""

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from alpaserve.oip.v2 import inference_pb2
from google.protobuf import text_format
from google.protobuf.descriptor import FileDescriptor, MethodDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from services.core.errors import InvalidArgument
from services.infra.errors import abort

PRIVATE, PUBLIC = "alpaserve.oip.v2", "inference"
NAME = "GRPCInferenceService"


def public_file() -> FileDescriptor:
    """The contract as everybody knows it, in a pool of its own: the process may hold another implementation."""
    ours = FileDescriptorProto.FromString(inference_pb2.DESCRIPTOR.serialized_pb)
    ours.name = f"{PUBLIC}.proto"
    text = text_format.MessageToString(ours).replace(PRIVATE, PUBLIC)
    public = text_format.Parse(text, FileDescriptorProto())
    return DescriptorPool().AddSerializedFile(public.SerializeToString())


def add_inference(servicer: Any, server: grpc.aio.Server) -> None:
    """Register `servicer` under the public name. Calls with tensors take their messages unread."""
    service = inference_pb2.DESCRIPTOR.services_by_name[NAME]
    handlers = {method.name: _handler(method, getattr(servicer, method.name)) for method in service.methods}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(f"{PUBLIC}.{NAME}", handlers),))


def _handler(method: MethodDescriptor, answer: Callable[..., Any]) -> Any:
    write = GetMessageClass(method.output_type).SerializeToString
    if method.name == "ModelInfer":
        return grpc.stream_unary_rpc_method_handler(answer, None, write)
    if method.name == "ModelStreamInfer":
        return grpc.stream_stream_rpc_method_handler(answer, None, write)
    return grpc.unary_unary_rpc_method_handler(_reading(method, answer), None, write)


def _reading(method: MethodDescriptor, answer: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Left to gRPC, bytes that are no message would look like a fault of ours."""
    kind = GetMessageClass(method.input_type)

    async def read(content: bytes, context: Any) -> Any:
        try:
            request = kind.FromString(content)
        except DecodeError:
            return await abort(context, InvalidArgument(f"{len(content)} bytes that are no {method.input_type.name}"))
        return await answer(request, context)

    return read
