"""The computations that the transformers share, on one layer's parameters by name.

Matrix products are in the dtype of their operands; softmax, normalisation and logits are in float32.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from services.parallel.model import Activation, HostActivation, Outputs, Parameters

NONLINEARITIES: dict[str, Callable[[jax.Array], jax.Array]] = {
    "gelu": partial(jax.nn.gelu, approximate=False),
    "gelu_new": partial(jax.nn.gelu, approximate=True),
    "relu": jax.nn.relu,
}
# Finite, so that a row which attends to nothing stays a number.
_MASKED = np.finfo(np.float32).min


def embed(table: jax.Array, ids: jax.Array) -> jax.Array:
    """The rows of a table `(size, hidden)` for `(batch, length)` ids."""
    return jnp.take(table, ids, axis=0, mode="clip")


def normalize(parameters: Parameters, name: str, value: jax.Array, epsilon: float) -> jax.Array:
    """Layer normalisation over the last axis."""
    wide = value.astype(jnp.float32)
    centred = wide - wide.mean(axis=-1, keepdims=True)
    variance = jnp.square(centred).mean(axis=-1, keepdims=True)
    scaled = centred * jax.lax.rsqrt(variance + np.float32(epsilon))
    return (scaled * parameters[f"{name}_scale"] + parameters[f"{name}_bias"]).astype(value.dtype)


def attention_bias(mask: jax.Array, *, is_causal: bool = False) -> jax.Array:
    """What is added to the scores, for a mask `(batch, length)` of the tokens that may be attended to:
    `(batch, 1, 1 or length, length)`, float32."""
    allowed = mask[:, None, None, :] != 0
    if is_causal:
        shape = (mask.shape[1], mask.shape[1])
        rows = jax.lax.broadcasted_iota(jnp.int32, shape, 0)
        columns = jax.lax.broadcasted_iota(jnp.int32, shape, 1)
        allowed = allowed & (columns <= rows)
    return jnp.where(allowed, np.float32(0), _MASKED)


def attend(parameters: Parameters, hidden: jax.Array, bias: jax.Array, num_heads: int) -> jax.Array:
    """Self-attention of `(batch, length, hidden)`, with its projection back."""
    batch, length, size = hidden.shape
    head_size = size // num_heads

    def project(letter: str) -> jax.Array:
        projected = hidden @ parameters["w" + letter] + parameters["b" + letter]
        return projected.reshape(batch, length, num_heads, head_size)

    query, key, value = project("q"), project("k"), project("v")
    # Scaled before the product, which would overflow float16 sooner.
    query = query * np.asarray(1 / np.sqrt(head_size), query.dtype)
    scores = jnp.einsum("bqhd,bkhd->bhqk", query, key).astype(jnp.float32)
    shares = jax.nn.softmax(scores + bias, axis=-1).astype(hidden.dtype)
    mixed = jnp.einsum("bhqk,bkhd->bqhd", shares, value).reshape(hidden.shape)
    return mixed @ parameters["wo"] + parameters["bo"]


def feed_forward(parameters: Parameters, hidden: jax.Array, nonlinearity: str) -> jax.Array:
    inner = NONLINEARITIES[nonlinearity](hidden @ parameters["wi"] + parameters["bi"])
    return inner @ parameters["wu"] + parameters["bu"]


def vocabulary_logits(tokens: jax.Array, hidden: jax.Array) -> jax.Array:
    """Scores of every token by the token table: `(…, vocabulary)`, float32."""
    return jnp.einsum("...h,vh->...v", hidden, tokens, preferred_element_type=jnp.float32)


def predict_masked(parameters: Parameters, hidden: jax.Array, nonlinearity: str, epsilon: float) -> Activation:
    """The head of a masked language model: for each token the best of the vocabulary by its id and its
    logit, the first of equal ones."""
    hidden = NONLINEARITIES[nonlinearity](hidden @ parameters["wh"] + parameters["bh"])
    hidden = normalize(parameters, "norm", hidden, epsilon)
    logits = vocabulary_logits(parameters["tokens"], hidden) + parameters["token_bias"]
    best = logits.max(axis=-1)
    ids = jax.lax.broadcasted_iota(jnp.int32, logits.shape, logits.ndim - 1)
    # A maximum and a minimum, because a reduction over a split vocabulary exchanges one number per token
    # and device, where argmax would first gather the logits.
    first = jnp.where(logits == best[..., None], ids, logits.shape[-1]).min(axis=-1)
    return {"predicted_ids": first, "predicted_logits": best}


def cut_predictions(activation: HostActivation) -> list[Outputs]:
    """What `predict_masked` gave each request, without padding."""
    return [
        {name: activation[name][row, :length] for name in ("predicted_ids", "predicted_logits")}
        for row, length in enumerate(activation["length"])
    ]
