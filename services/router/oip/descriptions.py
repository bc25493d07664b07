"""What the protocol tells of a model."""

from alpaserve.oip.v2 import inference_pb2

from services.core.signature import ANY_LENGTH, Signature, TensorSpec
from services.router.oip.repository import Repository
from services.router.oip.request import VERSION
from services.router.oip.tensors import DATATYPES

PLATFORM = "alpaserve"
# Of a model whose tensors nobody has told: it runs on emulated devices, which take any, or was never loaded.
UNKNOWN = Signature((), ())
TensorMetadata = inference_pb2.ModelMetadataResponse.TensorMetadata


def metadata_message(model: str, repository: Repository) -> inference_pb2.ModelMetadataResponse:
    """As a batch has them, like Triton's; a config's tensors are those of an example."""
    signature = repository.signatures.get(model, UNKNOWN)
    return inference_pb2.ModelMetadataResponse(
        name=model,
        versions=[VERSION],
        platform=PLATFORM,
        inputs=map(tensor_message, signature.inputs),
        outputs=map(tensor_message, signature.outputs),
    )


def tensor_message(tensor: TensorSpec) -> inference_pb2.ModelMetadataResponse.TensorMetadata:
    return TensorMetadata(name=tensor.name, datatype=tensor.datatype, shape=[ANY_LENGTH, *tensor.shape])


def config_message(model: str, repository: Repository) -> inference_pb2.ModelConfig:
    signature = repository.signatures.get(model, UNKNOWN)
    config = inference_pb2.ModelConfig(
        name=model,
        platform=PLATFORM,
        backend=PLATFORM,
        max_batch_size=repository.max_examples(model) if signature.inputs else 0,
        input=[
            inference_pb2.ModelInput(
                name=tensor.name,
                data_type=DATATYPES[tensor.datatype].config,
                dims=tensor.shape,
                optional=tensor.is_optional,
            )
            for tensor in signature.inputs
        ],
        output=[
            inference_pb2.ModelOutput(name=tensor.name, data_type=DATATYPES[tensor.datatype].config, dims=tensor.shape)
            for tensor in signature.outputs
        ],
        instance_group=[
            inference_pb2.ModelInstanceGroup(name=group.name, count=1, kind=inference_pb2.ModelInstanceGroup.KIND_MODEL)
            for group in repository.holders(model)
        ],
    )
    if (slo_s := repository.slo_s(model)) is not None:
        config.parameters["slo_s"].string_value = repr(slo_s)
    return config
