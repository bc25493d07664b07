"""The devices of a stage as a mesh with one axis, and where tensors are split along it.

Operator outputs are constrained as well as weights: given weights alone, the partitioner may
prefer to gather them.
"""

from collections.abc import Sequence

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

INTRA_OP = "intra_op"


def stage_mesh(devices: Sequence[jax.Device]) -> Mesh:
    """A mesh of one stage's devices, with the axis `intra_op`."""
    return Mesh(np.asarray(devices), (INTRA_OP,))


def whole(mesh: Mesh) -> NamedSharding:
    """Every device of the mesh holds the whole tensor."""
    return NamedSharding(mesh, PartitionSpec())


def split_spec(ndim: int, axis: int) -> PartitionSpec:
    """The spec of a tensor of `ndim` axes that is split along `axis`."""
    return PartitionSpec(*(INTRA_OP if index == axis else None for index in range(ndim)))


def constrain_split(value: jax.Array, axis: int) -> jax.Array:
    """`value`, split along `axis` over the mesh in context where that divides it evenly.

    Without a mesh in context, or with an uneven split, it is left to the partitioner.
    """
    num_devices = jax.sharding.get_abstract_mesh().shape.get(INTRA_OP, 1)
    if num_devices == 1 or value.shape[axis] % num_devices:
        return value
    return _constrain(value, split_spec(value.ndim, axis))


def constrain_whole(value: jax.Array) -> jax.Array:
    """`value`, whole on every device of the mesh in context, if there is one."""
    if jax.sharding.get_abstract_mesh().shape.get(INTRA_OP, 1) == 1:
        return value
    return _constrain(value, PartitionSpec())


def _constrain(value: jax.Array, spec: PartitionSpec) -> jax.Array:
    constrained: jax.Array = jax.lax.with_sharding_constraint(value, spec)
    return constrained
