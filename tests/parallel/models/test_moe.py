"""The mixture of experts against one token and one expert at a time."""

import json
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import NDArray

from services.core.errors import InvalidModel
from services.core.model import ModelSource
from services.parallel.architectures import open_model
from services.parallel.models.configs import shipped_config
from services.parallel.models.experts import mix_experts, route
from services.parallel.models.moe import Moe
from services.parallel.models.moe_config import parse_moe_config

Array = NDArray[np.float32]
EXPERTS, HIDDEN, INNER = 4, 6, 10


def random_parameters(generator: np.random.Generator) -> dict[str, Array]:
    shapes = {
        "gate": (HIDDEN, EXPERTS),
        "expert_wi": (EXPERTS, HIDDEN, INNER),
        "expert_bi": (EXPERTS, INNER),
        "expert_wu": (EXPERTS, INNER, HIDDEN),
        "expert_bu": (EXPERTS, HIDDEN),
    }
    return {name: generator.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def reference_slots(gates: Array, mask: NDArray[Any], capacity: int) -> dict[tuple[int, int], float]:
    """The share of each (token, expert) that gets a slot, for one request."""
    ranked = np.argsort(-gates, axis=1, kind="stable")
    used = [0] * gates.shape[1]
    shares: dict[tuple[int, int], float] = {}
    for rank in range(2):
        for token in np.flatnonzero(mask):
            expert = int(ranked[token, rank])
            if used[expert] < capacity:
                both = gates[token, ranked[token, 0]] + gates[token, ranked[token, 1]]
                shares[int(token), expert] = float(gates[token, expert] / both)
            used[expert] += 1
    return shares


def reference_mixture(parameters: dict[str, Array], hidden: Array, mask: NDArray[Any], capacity: int) -> Array:
    """What the experts add to one request `(length, hidden)`."""
    scores = np.exp(hidden @ parameters["gate"])
    gates = scores / scores.sum(axis=1, keepdims=True)
    added = np.zeros_like(hidden)
    for (token, expert), share in reference_slots(gates, mask, capacity).items():
        inner = hidden[token] @ parameters["expert_wi"][expert] + parameters["expert_bi"][expert]
        given = np.maximum(inner, 0) @ parameters["expert_wu"][expert] + parameters["expert_bu"][expert]
        added[token] += share * given
    return added


@pytest.mark.parametrize("capacity", [1, 3, 6, 12])
def test_the_mixture_is_that_of_one_token_at_a_time(capacity: int) -> None:
    generator = np.random.default_rng(capacity)
    parameters = random_parameters(generator)
    hidden = generator.normal(size=(3, 12, HIDDEN)).astype(np.float32)
    mask = np.array([[1] * 12, [1] * 5 + [0] * 7, [0, 1, 1, 0] * 3])

    mixed = jax.jit(mix_experts, static_argnames=("capacity", "nonlinearity"))(
        parameters, hidden, mask, capacity=capacity, nonlinearity="relu"
    )

    expected = [reference_mixture(parameters, *request, capacity) for request in zip(hidden, mask, strict=True)]
    np.testing.assert_allclose(mixed, expected, rtol=1e-4, atol=1e-5)


def test_a_token_that_finds_its_experts_full_is_left_as_it_is() -> None:
    gates = jnp.tile(jnp.array([0.6, 0.3, 0.1]), (1, 4, 1))

    shares = np.asarray(route(gates, jnp.ones((1, 4)), 2))[0]

    np.testing.assert_allclose(shares.sum(axis=2), [[2 / 3, 1 / 3, 0]] * 2 + [[0, 0, 0]] * 2, rtol=1e-6)
    assert (shares > 0).sum(axis=0).max() == 1


def test_masked_tokens_take_no_capacity() -> None:
    gates = jnp.tile(jnp.array([0.6, 0.3, 0.1]), (1, 4, 1))

    shares = np.asarray(route(gates, jnp.array([[0, 0, 1, 1]]), 2))[0]

    np.testing.assert_allclose(shares.sum(axis=(1, 2)), [0, 0, 1, 1], rtol=1e-6)


def test_first_choices_take_slots_before_second_ones() -> None:
    gates = jnp.array([[[0.3, 0.6, 0.1], [0.6, 0.1, 0.3]]])

    shares = np.asarray(route(gates, jnp.ones((1, 2)), 1))[0].sum(axis=2)

    np.testing.assert_allclose(shares, [[0, 2 / 3, 0], [2 / 3, 0, 1 / 3]], rtol=1e-6)


@pytest.mark.parametrize(("factor", "capacity"), [(2.0, 8), (0.3, 2), (100, 16)])
def test_the_capacity_is_a_share_of_the_length(factor: float, capacity: int) -> None:
    config = parse_moe_config({**shipped_config("moe-tiny"), "capacity_factor": factor})

    assert config.capacity(16) == capacity


def test_every_second_block_has_experts() -> None:
    model = open_model(ModelSource(config="moe-tiny", sequence_length=16))

    has_experts = ["expert_wi" in model.layer_parameters(layer) for layer in range(model.num_layers)]

    assert has_experts == [False, False, True, False, True, False]


def test_a_small_capacity_leaves_tokens_out(
    perturbed_weights: Any, run_layers: Callable[..., dict[str, NDArray[Any]]]
) -> None:
    def hidden(factor: float) -> NDArray[Any]:
        config = parse_moe_config({**shipped_config("moe-tiny"), "capacity_factor": factor})
        model = Moe(config, perturbed_weights, sequence_length=16)
        activation = run_layers(model, range(3), model.prepare([{"input_ids": np.arange(16)}]))
        return np.asarray(activation["hidden"][0])

    changed = ~np.isclose(hidden(4.0), hidden(0.25), rtol=1e-3).all(axis=1)

    # Of 32 choices, 4 experts with a slot each serve 4 at most.
    assert changed.sum() >= 12


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"num_experts": 1}, "num_experts must be at least 2, got 1"),
        ({"expert_intermediate_size": None}, "expert_intermediate_size must be a positive integer, got None"),
        ({"capacity_factor": 0}, "capacity_factor must be a positive number, got 0"),
        ({"capacity_factor": float("nan")}, "capacity_factor must be a positive number, got nan"),
        ({"num_attention_heads": 5}, "hidden_size 32 is not a multiple of num_attention_heads 5"),
        ({"max_position_embeddings": 15}, "sequence_length 16 exceeds max_position_embeddings 15"),
    ],
)
def test_an_unsupported_config_is_refused_by_name(change: dict[str, Any], named: str) -> None:
    source = ModelSource(config=json.dumps({**shipped_config("moe-tiny"), **change}), sequence_length=16)

    with pytest.raises(InvalidModel, match=named):
        open_model(source)
