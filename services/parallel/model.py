"""The seam between models and the pipeline: a model is a sequence of layers that can be cut
into contiguous stages anywhere, each a traceable function with tensors of its own.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

import jax
from numpy.typing import NDArray

Inputs: TypeAlias = Mapping[str, NDArray[Any]]
"""One request: named tensors without a batch dimension."""
Outputs: TypeAlias = dict[str, NDArray[Any]]
"""One reply: named tensors without a batch dimension."""
Index: TypeAlias = tuple[slice, ...]
"""A part of a tensor: one slice with step 1 per axis, `slice(None)` for all of an axis."""
Parameters: TypeAlias = dict[str, jax.Array]
HostActivation: TypeAlias = dict[str, NDArray[Any]]
Activation: TypeAlias = dict[str, jax.Array]
"""What one layer hands to the next: named tensors, batch dimension first."""
Shapes: TypeAlias = dict[str, jax.ShapeDtypeStruct]


@runtime_checkable
class Varied(Protocol):
    """A model whose requests differ in length, or in which inputs they have."""

    def extremes(self) -> tuple[Inputs, Inputs]:
        """The longest and the shortest valid request, each with every input that a request may have."""
        ...


class LayeredModel(Protocol):
    """A model whose stages are `layers[start:stop]` for any cut.

    It says nothing about devices: cuts and shardings are found from its layers' programs. The outputs
    do not depend on them, nor on the other requests of a batch, beyond rounding. All methods may be
    called from several threads.
    """

    @property
    def num_layers(self) -> int: ...

    def layer_parameters(self, layer: int) -> Shapes:
        """Shapes and dtypes of one layer's tensors, by name; nothing is read for it."""
        ...

    def read(self, layer: int, name: str, index: Index) -> NDArray[Any]:
        """The part `index` of one tensor, read (or drawn), and no more than is needed for it.

        Raises:
            InvalidModel: a tensor is missing or has another shape than the config says.
        """
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
        """Validate the requests, pad them to the model's fixed shape and stack them: along the first axis
        of every tensor, a row for each request.

        Raises:
            InvalidInput: a request the model does not take; the message names the value.
        """
        ...

    def collect(self, activation: HostActivation) -> list[Outputs]:
        """The outputs of each request of the batch, padding removed; the last layer's
        activation is given as numpy arrays."""
        ...


def extremes_of(model: LayeredModel) -> tuple[Inputs, Inputs]:
    """The longest and the shortest request; of a model whose requests are all alike, twice the example."""
    return model.extremes() if isinstance(model, Varied) else (model.example(), model.example())
