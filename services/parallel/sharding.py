"""The devices of a stage as a mesh with one axis, and tensors that are whole or split along it."""

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
