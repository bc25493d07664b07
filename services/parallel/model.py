"""The seam between models and the pipeline: a model is a sequence of layers that can be cut
into contiguous stages anywhere, and each layer says how it is sharded over a stage's devices.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import jax
from jax.sharding import PartitionSpec
from numpy.typing import NDArray

Inputs: TypeAlias = Mapping[str, NDArray[Any]]
"""One request: named tensors without a batch dimension."""
Outputs: TypeAlias = dict[str, NDArray[Any]]
"""One reply: named tensors without a batch dimension."""
HostParameters: TypeAlias = dict[str, NDArray[Any]]
Parameters: TypeAlias = dict[str, jax.Array]
HostActivation: TypeAlias = dict[str, NDArray[Any]]
Activation: TypeAlias = dict[str, jax.Array]
"""What one layer hands to the next: named tensors, batch dimension first."""
Shapes: TypeAlias = dict[str, jax.ShapeDtypeStruct]


class LayeredModel(Protocol):
    """A model whose stages are `layers[start:stop]` for any cut.

    The outputs do not depend on the cut or on the number of devices, beyond rounding. All
    methods may be called from several threads.
    """

    @property
    def num_layers(self) -> int: ...

    def layer_parameters(self, layer: int) -> HostParameters:
        """Read (or draw) the weights of one layer, and no more than those.

        Raises:
            InvalidModel: a tensor is missing or has another shape than the config says.
        """
        ...

    def layer_specs(self, layer: int, intra_op: int) -> dict[str, PartitionSpec]:
        """How each tensor of `layer_parameters(layer)` lies on `intra_op` devices."""
        ...

    def layer_flops(self, layer: int) -> float:
        """Floating-point operations of one layer for one request."""
        ...

    def apply_layer(self, layer: int, parameters: Parameters, activation: Activation) -> Activation:
        """One layer as a traceable function; layer 0 takes what `prepare` returns."""
        ...

    def example(self) -> Inputs:
        """A valid request of full length."""
        ...

    def input_shapes(self, batch_size: int) -> Shapes:
        """Shapes and dtypes of what `prepare` returns for `batch_size` requests."""
        ...

    def prepare(self, batch: Sequence[Inputs]) -> HostActivation:
        """Validate the requests, pad them to the model's fixed shape and stack them.

        Raises:
            InvalidInput: a request the model does not take; the message names the value.
        """
        ...

    def collect(self, activation: HostActivation) -> list[Outputs]:
        """The outputs of each request of the batch, padding removed; the last layer's
        activation is given as numpy arrays."""
        ...
