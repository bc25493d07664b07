"""Tensors of every datatype and shape through the running system and back, as typed elements and raw."""

from dataclasses import dataclass
from typing import Any

import grpc
import hypothesis.extra.numpy as arrays
import ml_dtypes
import numpy as np
import pytest
from alpaserve.oip.v2 import inference_pb2 as pb
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from services.router.oip.tensors import DATATYPES
from tests.e2e.cluster import Cluster, group
from tests.e2e.open_inference import INSTANT, ask, with_instant

HALVES = {"FP16": np.float16, "BF16": ml_dtypes.bfloat16}
SHAPES = arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=3)


@dataclass(frozen=True)
class Sent:
    """A tensor as it travels: elements as numpy has them, halves as their bits."""

    datatype: str
    values: NDArray[Any]

    @property
    def raw(self) -> bytes:
        if self.datatype == "BYTES":
            return b"".join(len(one).to_bytes(4, "little") + one for one in self.values.ravel().tolist())
        return self.values.tobytes()

    def message(self, name: str, is_typed: bool) -> pb.ModelInferRequest.InferInputTensor:
        given_ = pb.ModelInferRequest.InferInputTensor(name=name, datatype=self.datatype, shape=self.values.shape)
        if is_typed:
            given_.contents.SetInParent()
            getattr(given_.contents, DATATYPES[self.datatype].contents).extend(self.values.ravel().tolist())
        return given_


def elements(datatype: str) -> st.SearchStrategy[Any] | None:
    return st.binary(max_size=5) if datatype == "BYTES" else None


@st.composite
def tensors(draw: st.DrawFn, datatypes: list[str]) -> Sent:
    datatype = draw(st.sampled_from(datatypes))
    dtype = np.dtype(DATATYPES[datatype].dtype or object)
    return Sent(datatype, draw(arrays.arrays(dtype, SHAPES, elements=elements(datatype))))


def requests(datatypes: list[str]) -> st.SearchStrategy[dict[str, Sent]]:
    return st.dictionaries(st.text(max_size=5), tensors(datatypes), min_size=1, max_size=6)


@pytest.fixture(scope="module")
def channel(shared_cluster: Cluster) -> grpc.Channel:
    with_instant(shared_cluster)
    shared_cluster.apply(group(1, 1, [3], INSTANT))
    return shared_cluster.channel(shared_cluster.routers[0])


ROUND_TRIPS = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@ROUND_TRIPS
@given(sent=requests(list(DATATYPES)))
def test_raw_tensors_come_back_raw(channel: grpc.Channel, sent: dict[str, Sent]) -> None:
    request = pb.ModelInferRequest(
        model_name=INSTANT,
        inputs=[tensor.message(name, is_typed=False) for name, tensor in sent.items()],
        raw_input_contents=[tensor.raw for tensor in sent.values()],
    )
    answer = ask(channel, request)
    assert described(answer) == {name: (tensor.datatype, tensor.values.shape) for name, tensor in sent.items()}
    assert raw_of(answer) == {name: tensor.raw for name, tensor in sent.items()}


@ROUND_TRIPS
@given(sent=requests([name for name in DATATYPES if name not in HALVES]))
def test_typed_tensors_come_back_typed(channel: grpc.Channel, sent: dict[str, Sent]) -> None:
    inputs = [tensor.message(name, is_typed=True) for name, tensor in sent.items()]
    answer = ask(channel, pb.ModelInferRequest(model_name=INSTANT, inputs=inputs))
    assert described(answer) == {name: (tensor.datatype, tensor.values.shape) for name, tensor in sent.items()}
    assert not answer.raw_output_contents
    returned = {output.name: output.contents for output in answer.outputs}
    assert {name: str(contents) for name, contents in returned.items()} == {
        given_.name: str(given_.contents) for given_ in inputs
    }


def described(answer: pb.ModelInferResponse) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {output.name: (output.datatype, tuple(output.shape)) for output in answer.outputs}


def raw_of(answer: pb.ModelInferResponse) -> dict[str, bytes]:
    return {output.name: raw for output, raw in zip(answer.outputs, answer.raw_output_contents, strict=True)}
