"""What is made of batches that no client would send."""

import math
import random

import pytest
from alpaserve.oip.v2 import inference_pb2 as pb

from services.core.errors import AlpaServeError, InvalidArgument
from services.core.signature import Signature, TensorSpec
from services.router.oip.batches import MAX_EXAMPLES
from services.router.oip.request import Request
from tests.e2e.fuzzing import Input, broken
from tests.e2e.open_inference import INSTANT

SIGNATURE = Signature((TensorSpec("x", "FP32", (-1,)),), ())


def batch(number: random.Random) -> pb.ModelInferRequest:
    """Often sound, but for more examples than allowed in some."""
    num, length = number.choice((1, 2, 3, MAX_EXAMPLES, MAX_EXAMPLES + 1)), number.randint(0, 4)
    given = Input(name="x", datatype=number.choice(("FP32", "INT32", "BYTES")), shape=[num, length])
    return pb.ModelInferRequest(model_name=INSTANT, inputs=[given], raw_input_contents=[bytes(4 * num * length)])


def test_a_name_is_checked_before_each_example_has_it() -> None:
    request = batch(random.Random(0))
    request.id = "n" * 257
    with pytest.raises(InvalidArgument, match="a request id of 257 bytes"):
        Request({INSTANT: SIGNATURE}, "new", max_bytes=10_000).read(request.SerializeToString(), 0.0, math.inf)


def test_a_broken_batch_is_refused_or_makes_as_many_calls_as_examples() -> None:
    number = random.Random(0)
    num_calls: set[int] = set()
    for _ in range(5_000):
        _, content = broken(number, [("ModelInfer", batch(number))])
        try:
            num_calls.add(len(Request({INSTANT: SIGNATURE}, "new", max_bytes=10_000).read(content, 0.0, math.inf)))
        except AlpaServeError:
            num_calls.add(0)
    assert num_calls >= {0, 1, 2, 3, MAX_EXAMPLES}
    assert max(num_calls) == MAX_EXAMPLES
