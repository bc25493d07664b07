"""Every model gives the same outputs however it is cut and sharded, inside the actor that serves it."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import ray
from numpy.typing import NDArray

from services.core.model import ModelSource
from services.infra.ray_cluster import join_cluster, leave_cluster, start_actor
from services.parallel.environment import device_environment

MODELS = ("bert-tiny", "gpt-tiny", "moe-tiny", "wide-resnet-tiny")
CONFIGS = ((2, 1), (4, 1), (1, 2), (1, 4), (2, 2))


class Served:
    """One process with four devices, as a group leader has it."""

    def outputs(self, source: ModelSource, inter_op: int, intra_op: int) -> list[dict[str, NDArray[Any]]]:
        """What two requests in one batch are answered."""
        from services.parallel.pipeline import JaxPipeline

        pipeline = JaxPipeline(inter_op=inter_op, intra_op=intra_op)
        pipeline.load("m", source, batch_sizes=(2,))
        example = pipeline.example("m")
        requests = [example, {name: np.flip(values, axis=0) for name, values in example.items()}]
        activation = pipeline.join([pipeline.prepare("m", request) for request in requests])
        for stage in range(inter_op):
            activation = pipeline.run_stage("m", stage, activation)
        outputs = pipeline.collect("m", activation)
        pipeline.unload("m")
        return outputs


@pytest.fixture(scope="module")
def served() -> Iterator[Any]:
    join_cluster("local", 80 * 2**20)
    environment = device_environment(4, "cpu")
    environment["XLA_FLAGS"] += " --xla_backend_optimization_level=0"
    yield start_actor(Served, environment)
    leave_cluster()


@pytest.mark.parametrize("name", MODELS)
def test_every_parallel_config_gives_the_outputs_of_one_device(name: str, served: Any) -> None:
    source = ModelSource(config=name, seed=3, sequence_length=16)
    expected = ray.get(served.outputs.remote(source, 1, 1))

    for inter_op, intra_op in CONFIGS:
        outputs = ray.get(served.outputs.remote(source, inter_op, intra_op))

        assert len(outputs) == len(expected) == 2
        for request, wanted in zip(outputs, expected, strict=True):
            assert request.keys() == wanted.keys()
            for key, values in wanted.items():
                assert np.ptp(values) > 0
                scale = np.abs(values).max()
                np.testing.assert_allclose(request[key] / scale, values / scale, rtol=1e-4, atol=1e-5)
