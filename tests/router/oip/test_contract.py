"""Our contract is the public one, under its public name, beside another implementation in the same process."""

import pytest
from alpaserve.oip.v2 import inference_pb2
from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto, ServiceDescriptorProto
from google.protobuf.message import Message
from tritonclient.grpc import model_config_pb2, service_pb2

from services.router.oip.contract import public_file

# What KServe's clients read of messages that Triton's leave empty.
KSERVES = {
    ("RepositoryModelLoadResponse", 1),
    ("RepositoryModelLoadResponse", 2),
    ("RepositoryModelUnloadResponse", 1),
    ("RepositoryModelUnloadResponse", 2),
}


def proto(file: object) -> FileDescriptorProto:
    return FileDescriptorProto.FromString(file.serialized_pb)  # type: ignore[attr-defined]


def described(message: DescriptorProto, path: str = "") -> dict[tuple[str, int], tuple[object, ...]]:
    """By message and field number: name, type, whether it repeats."""
    name = f"{path}{message.name}"
    fields: dict[tuple[str, int], tuple[object, ...]] = {
        (name, one.number): (one.name, one.type, one.label, one.type_name) for one in message.field
    }
    for nested in message.nested_type:
        fields |= described(nested, f"{name}.")
    return fields


def all_fields(*files: FileDescriptorProto) -> dict[tuple[str, int], tuple[object, ...]]:
    return {key: value for file in files for one in file.message_type for key, value in described(one).items()}


def test_every_field_has_its_public_number_name_and_type() -> None:
    ours = all_fields(proto(public_file()))
    theirs = all_fields(proto(service_pb2.DESCRIPTOR), proto(model_config_pb2.DESCRIPTOR))
    assert len(ours) > 100
    assert {key: value for key, value in ours.items() if theirs.get(key) != value}.keys() == KSERVES


def test_every_datatype_of_a_config_has_its_public_number() -> None:
    ours, theirs = inference_pb2.DataType, model_config_pb2.DataType
    assert dict(ours.items()) == dict(theirs.items())


def methods(service: ServiceDescriptorProto) -> dict[str, tuple[object, ...]]:
    return {
        one.name: (one.input_type, one.output_type, one.client_streaming, one.server_streaming)
        for one in service.method
    }


def test_every_method_is_the_public_one() -> None:
    ours = methods(proto(public_file()).service[0])
    theirs = methods(proto(service_pb2.DESCRIPTOR).service[0])
    assert len(ours) == 12
    assert ours.items() <= theirs.items()


def test_the_public_names_of_this_process_are_the_other_implementations() -> None:
    found = descriptor_pool.Default().FindMessageTypeByName("inference.ModelInferRequest")
    assert found is service_pb2.ModelInferRequest.DESCRIPTOR
    assert public_file().pool is not descriptor_pool.Default()


@pytest.mark.parametrize("kind", ["ModelInferRequest", "ModelInferResponse"])
def test_what_one_implementation_writes_the_other_reads(kind: str) -> None:
    ours: Message = getattr(inference_pb2, kind)(model_name="m", id="7", parameters={"timeout": {"int64_param": 5}})
    theirs: Message = getattr(service_pb2, kind).FromString(ours.SerializeToString())
    assert str(theirs) == str(ours)
