"""A request of the Open Inference Protocol as one of our own for each of its examples, and the answer in its form."""

from collections.abc import Mapping, Sequence

from alpaserve.oip.v2 import inference_pb2
from alpaserve.v1 import router_pb2, tensor_pb2
from google.protobuf.message import DecodeError

from services.core.errors import InvalidArgument, InvalidInput, UnknownModel
from services.core.signature import Signature
from services.router.call import Call, Reply, check_id
from services.router.oip.batches import batch_of, examples_of
from services.router.oip.tensors import is_raw_only, to_output, to_tensor

Parameters = Mapping[str, inference_pb2.InferParameter]

VERSION = "1"
SHARED_MEMORY, CLASSIFICATION = "shared_memory_region", "classification"
SEQUENCES = ("sequence_id", "sequence_start", "sequence_end")


class Request:
    """One request, from its bytes to its answer; it is called `new_id` unless it brings a name. Typed tensors may grow
    up to `max_bytes`, and so may its answer."""

    def __init__(self, signatures: Mapping[str, Signature], new_id: str, max_bytes: int) -> None:
        self.message = inference_pb2.ModelInferRequest(id=new_id)
        self._signatures = signatures
        self._max_bytes = max_bytes
        self._signature: Signature | None = None
        # 0 for inputs without a batch dimension.
        self._num_examples = 0

    def read(self, content: bytes, arrival_s: float, expires_s: float) -> list[Call]:
        """Each example in our own protocol. Raises: InvalidArgument and UnknownModel, naming the offending value."""
        message = message_of(content)
        message.id = message.id or self.message.id
        self.message = message
        check_id(message.id)
        self._signature = self._signatures.get(message.model_name)
        check_version(message.model_name, message.model_version)
        check_served(message.parameters, SEQUENCES)
        for asked in message.outputs:
            check_served(asked.parameters, (SHARED_MEMORY, CLASSIFICATION))
        if self._signature:
            self._check_outputs([tensor.name for tensor in self._signature.outputs])
        allowed_s = slo_s(message.parameters)
        requests = (
            router_pb2.InferRequest(model=message.model_name, request_id=message.id, inputs=inputs)
            for inputs in self._examples(self._inputs())
        )
        return [
            Call(
                request_id=message.id,
                model=message.model_name,
                content=request.SerializeToString(),
                slo_s=allowed_s,
                arrival_s=arrival_s,
                expires_s=expires_s,
            )
            for request in requests
        ]

    def answer(
        self, replies: Sequence[Reply], served: Sequence[router_pb2.InferResponse]
    ) -> inference_pb2.ModelInferResponse:
        """From the examples' replies, and what they carry. Of a batch, its parameters are those of its slowest example.

        Raises: InvalidArgument if an output was asked for that the model does not have, or they take too many bytes.
        """
        examples = [self._asked(one.outputs) for one in served]
        outputs = batch_of(examples, self._max_bytes) if self._num_examples else examples[0]
        slowest = slowest_of(served)
        is_typed = any(given.HasField("contents") for given in self.message.inputs)
        is_typed = is_typed and not any(is_raw_only(tensor) for tensor in outputs.values())
        answer = inference_pb2.ModelInferResponse(
            model_name=self.message.model_name,
            model_version=VERSION,
            id=self.message.id,
            parameters=parameters(replies[slowest], served[slowest]),
            outputs=[to_output(name, tensor, is_typed) for name, tensor in outputs.items()],
            raw_output_contents=[] if is_typed else [tensor.data for tensor in outputs.values()],
        )
        # What a leader sent fits; typed elements grow.
        if (is_typed or self._num_examples) and (num_bytes := answer.ByteSize()) > self._max_bytes:
            raise InvalidInput(f"the answer takes {num_bytes} bytes, allowed are {self._max_bytes}")
        return answer

    def _inputs(self) -> dict[str, tensor_pb2.Tensor]:
        message = self.message
        raw: Sequence[bytes | None] = message.raw_input_contents or [None] * len(message.inputs)
        if len(raw) != len(message.inputs):
            raise InvalidInput(f"{len(raw)} raw_input_contents for {len(message.inputs)} inputs")
        inputs: dict[str, tensor_pb2.Tensor] = {}
        for given, data in zip(message.inputs, raw, strict=True):
            check_served(given.parameters, (SHARED_MEMORY,))
            if given.name in inputs:
                raise InvalidInput(f"input {given.name!r} is given twice")
            if data is not None and given.HasField("contents"):
                raise InvalidInput(f"input {given.name!r} has contents beside raw_input_contents")
            inputs[given.name] = to_tensor(given, data, self._max_bytes)
        return inputs

    def _examples(self, inputs: dict[str, tensor_pb2.Tensor]) -> list[dict[str, tensor_pb2.Tensor]]:
        if self._signature is None:
            return [inputs]
        self._num_examples = self._signature.num_examples({name: one.shape for name, one in inputs.items()})
        if not self._num_examples:
            return [inputs]
        for name, tensor in inputs.items():
            if tensor.dtype == tensor_pb2.DATA_TYPE_BYTES:
                self._signature.check_takes_strings(name)
        return examples_of(inputs, self._num_examples)

    def _asked(self, outputs: Mapping[str, tensor_pb2.Tensor]) -> dict[str, tensor_pb2.Tensor]:
        self._check_outputs(sorted(outputs))
        names = [asked.name for asked in self.message.outputs] or sorted(outputs)
        return {name: outputs[name] for name in names}

    def _check_outputs(self, known: Sequence[str]) -> None:
        """Raises: InvalidArgument if another output is asked for."""
        for asked in self.message.outputs:
            if asked.name not in known:
                there_are = ", ".join(known) or "none"
                raise InvalidArgument(
                    f"model {self.message.model_name!r} has no output {asked.name!r}; there are: {there_are}"
                )


def message_of(content: bytes) -> inference_pb2.ModelInferRequest:
    """Raises: InvalidArgument, naming the offending value."""
    try:
        message = inference_pb2.ModelInferRequest.FromString(content)
    except DecodeError:
        raise InvalidArgument(f"{len(content)} bytes that are no ModelInferRequest") from None
    if not message.model_name:
        raise InvalidArgument("model_name is empty")
    return message


def check_version(model: str, version: str) -> None:
    """Raises: UnknownModel for a version that no model has."""
    if version not in ("", VERSION):
        raise UnknownModel(f"model {model!r} has no version {version!r}, only {VERSION!r}")


def check_served(given: Parameters, refused: Sequence[str]) -> None:
    """Raises: InvalidArgument for a parameter that asks for what nobody here does."""
    for name in refused:
        if name in given and value_of(given[name]):
            raise InvalidArgument(f"parameter {name!r}, {value_of(given[name])!r}, asks for what is not served here")


def slo_s(given: Parameters) -> float | None:
    """From `timeout` in µs, also as text; None if it is absent or 0. Raises: InvalidArgument, naming the value."""
    if "timeout" not in given:
        return None
    value = value_of(given["timeout"])
    try:
        timeout_us = int(value) if isinstance(value, int | str) and not isinstance(value, bool) else -1
    except ValueError:
        timeout_us = -1
    if not 0 <= timeout_us < 2**64:
        raise InvalidArgument(f"parameter 'timeout' must be a whole number of µs, not negative, got {value!r}")
    return timeout_us / 1e6 or None


def value_of(parameter: inference_pb2.InferParameter) -> object:
    choice = parameter.WhichOneof("parameter_choice")
    return None if choice is None else getattr(parameter, choice)


def slowest_of(served: Sequence[router_pb2.InferResponse]) -> int:
    """Which example was longest in its group."""
    return max(range(len(served)), key=lambda k: served[k].queue_time_s + served[k].execution_time_s)


def parameters(reply: Reply, served: router_pb2.InferResponse) -> dict[str, inference_pb2.InferParameter]:
    seconds = {
        "predicted_finish_s": reply.predicted_finish_s,
        "queue_time_s": served.queue_time_s,
        "execution_time_s": served.execution_time_s,
    }
    counts = {"placement_version": reply.placement_version, "batch_size": served.batch_size or 1}
    return {
        "group": inference_pb2.InferParameter(string_param=reply.group),
        **{name: inference_pb2.InferParameter(double_param=value) for name, value in seconds.items()},
        **{name: inference_pb2.InferParameter(int64_param=value) for name, value in counts.items()},
    }
