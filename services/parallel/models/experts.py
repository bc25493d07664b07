"""A mixture of experts with top-2 gating (GShard: Lepikhin et al., 2020, algorithm 1), in products over
(tokens, experts, capacity), so that the experts can be split over devices.

Every request is a group of its own: its outputs do not depend on the others of the batch. Padding takes no
capacity, and a token that finds its expert full passes by on the residual.
"""

import jax
import jax.numpy as jnp
import numpy as np

from services.parallel.model import Parameters
from services.parallel.models.transformer import NONLINEARITIES


def mix_experts(
    parameters: Parameters, hidden: jax.Array, mask: jax.Array, *, capacity: int, nonlinearity: str
) -> jax.Array:
    """What the experts add to `hidden` `(batch, length, hidden)`, of which `mask` marks the real tokens."""
    logits = jnp.einsum("blh,he->ble", hidden, parameters["gate"], preferred_element_type=jnp.float32)
    combine = route(jax.nn.softmax(logits, axis=-1), mask, capacity)
    dispatch = (combine > 0).astype(hidden.dtype)
    taken = jnp.einsum("blec,blh->ebch", dispatch, hidden)
    inner = jnp.einsum("ebch,ehi->ebci", taken, parameters["expert_wi"]) + parameters["expert_bi"][:, None, None]
    inner = NONLINEARITIES[nonlinearity](inner)
    given = jnp.einsum("ebci,eih->ebch", inner, parameters["expert_wu"]) + parameters["expert_bu"][:, None, None]
    return jnp.einsum("blec,ebch->blh", combine.astype(hidden.dtype), given)


def route(gates: jax.Array, mask: jax.Array, capacity: int) -> jax.Array:
    """The share of each token in each slot of each expert, `(batch, length, experts, capacity)`, from the
    gates `(batch, length, experts)`.

    A token goes to its two best experts, in shares of their gates. First choices take slots before second
    ones, and earlier tokens before later ones.
    """
    num_experts = gates.shape[-1]
    real = (mask != 0)[..., None]
    first = jax.nn.one_hot(gates.argmax(axis=-1), num_experts, dtype=jnp.float32)
    others = jnp.where(first > 0, np.float32(-1), gates)
    second = jax.nn.one_hot(others.argmax(axis=-1), num_experts, dtype=jnp.float32)
    first_gate = (gates * first).sum(axis=-1, keepdims=True)
    second_gate = (gates * second).sum(axis=-1, keepdims=True)
    first, second = jnp.where(real, first, 0), jnp.where(real, second, 0)
    first_slot = jnp.cumsum(first, axis=1) - first
    second_slot = jnp.cumsum(second, axis=1) - second + first.sum(axis=1, keepdims=True)
    shares = (_fill(first, first_slot, capacity) * first_gate[..., None]) + (
        _fill(second, second_slot, capacity) * second_gate[..., None]
    )
    return shares / (first_gate + second_gate)[..., None]


def _fill(chosen: jax.Array, slot: jax.Array, capacity: int) -> jax.Array:
    """One where a token takes a slot; beyond the capacity there is none."""
    slots = jax.lax.broadcasted_iota(jnp.int32, (1, 1, 1, capacity), 3).astype(jnp.float32)
    return chosen[..., None] * (slot[..., None] == slots)
