"""Messages that no client would send: random bytes, and sound messages that were broken on the way."""

import random
from collections.abc import Callable, Sequence

from alpaserve.oip.v2 import inference_pb2 as pb
from google.protobuf.message import Message

from services.router.oip.tensors import DATATYPES
from tests.e2e.open_inference import INSTANT

Input = pb.ModelInferRequest.InferInputTensor
ODD_NUMBERS = (0, 1, -1, 2, 3, 127, 2**31 - 1, -(2**31), 2**62, 2**63 - 1, -(2**63))
ODD_NAMES = ("", INSTANT, "stranger", "quick", "\0", "x" * 1_000, "../..", "é", "1", "-1", "timeout", "nan")


def sound_messages(number: random.Random) -> list[tuple[str, Message]]:
    """(method, message) of every kind."""
    named = [("ModelReady", pb.ModelReadyRequest), ("ModelMetadata", pb.ModelMetadataRequest)]
    named += [("ModelConfig", pb.ModelConfigRequest), ("ModelStatistics", pb.ModelStatisticsRequest)]
    asked: list[tuple[str, Message]] = [(method, kind(name=INSTANT, version="1")) for method, kind in named]
    asked += [
        ("ServerReady", pb.ServerReadyRequest()),
        ("RepositoryIndex", pb.RepositoryIndexRequest(ready=True)),
        ("RepositoryModelLoad", pb.RepositoryModelLoadRequest(model_name="stranger")),
        ("RepositoryModelUnload", pb.RepositoryModelUnloadRequest(model_name="stranger")),
    ]
    inferences = [inference(number, is_raw) for is_raw in (True, False) for _ in range(len(asked))]
    streamed = [("ModelStreamInfer", message) for message in inferences[::4]]
    return [*asked, *streamed, *(("ModelInfer", message) for message in inferences)]


def inference(number: random.Random, is_raw: bool) -> pb.ModelInferRequest:
    """Inputs of random datatypes and shapes; their elements may or may not fit."""
    request = pb.ModelInferRequest(model_name=INSTANT, id=str(number.random()))
    request.parameters["timeout"].int64_param = 10_000_000
    for index in range(number.randint(1, 3)):
        name = number.choice([*DATATYPES])
        shape = [number.randint(0, 3) for _ in range(number.randint(0, 3))]
        request.inputs.append(Input(name=f"x{index}", datatype=name, shape=shape))
        if is_raw:
            request.raw_input_contents.append(number.randbytes(number.randint(0, 64)))
        else:
            request.inputs[-1].contents.fp32_contents.extend([1.5] * number.randint(0, 9))
    return request


def broken(number: random.Random, messages: Sequence[tuple[str, Message]]) -> tuple[str, bytes]:
    """A method, and bytes for it."""
    method, message = number.choice(messages)
    if number.random() < 0.1:
        return method, number.randbytes(number.randint(0, 300))
    if isinstance(message, pb.ModelInferRequest) and number.random() < 0.6:
        message = odd(number, message)
    content = bytearray(message.SerializeToString())
    if number.random() < 0.6:
        for _ in range(number.randint(1, 6)):
            number.choice(MUTATIONS)(number, content)
    return method, bytes(content)


def odd(number: random.Random, message: pb.ModelInferRequest) -> pb.ModelInferRequest:
    """The same with a few values that are well formed and make no sense."""
    changed = pb.ModelInferRequest.FromString(message.SerializeToString())
    tensor = number.choice(changed.inputs)
    for change in number.sample(range(8), 2):
        if change == 0:
            tensor.shape.append(number.choice(ODD_NUMBERS))
        elif change == 1:
            tensor.datatype = number.choice([*DATATYPES, *ODD_NAMES])
        elif change == 2:
            changed.model_name = number.choice(ODD_NAMES)
        elif change == 3:
            changed.parameters[number.choice(ODD_NAMES)].int64_param = number.choice(ODD_NUMBERS)
        elif change == 4:
            changed.parameters["timeout"].string_param = number.choice(ODD_NAMES)
        elif change == 5:
            changed.inputs.append(tensor)
        elif change == 6:
            changed.outputs.add(name=number.choice(ODD_NAMES))
        else:
            tensor.contents.int_contents.append(number.choice(ODD_NUMBERS[:8]))
    return changed


def flip(number: random.Random, content: bytearray) -> None:
    if content:
        content[number.randrange(len(content))] ^= 1 << number.randrange(8)


def cut(number: random.Random, content: bytearray) -> None:
    del content[number.randint(0, len(content)) :]


def insert(number: random.Random, content: bytearray) -> None:
    place = number.randint(0, len(content))
    content[place:place] = number.randbytes(number.randint(1, 8))


def drop(number: random.Random, content: bytearray) -> None:
    place = number.randint(0, len(content))
    del content[place : place + number.randint(1, 8)]


def repeat(number: random.Random, content: bytearray) -> None:
    begin = number.randint(0, len(content))
    content += content[begin : begin + 200]


def overwrite(number: random.Random, content: bytearray) -> None:
    place = number.randint(0, len(content))
    content[place : place + 4] = number.choice([b"\xff\xff\xff\x7f", b"\0\0\0\0", b"\x80\x80\x80\x80"])


MUTATIONS: tuple[Callable[[random.Random, bytearray], None], ...] = (flip, flip, cut, insert, drop, repeat, overwrite)
