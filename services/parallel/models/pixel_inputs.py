"""Requests to models that read images: validated and stacked."""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import numpy as np

from services.core.errors import InvalidInput
from services.parallel.model import HostActivation, Inputs, Shapes

_NAME = "pixels"


@dataclass(frozen=True, slots=True)
class PixelInputs:
    """`pixels` `(image_size, image_size, 3)`, float32."""

    image_size: int

    @property
    def _shape(self) -> tuple[int, int, int]:
        return (self.image_size, self.image_size, 3)

    def example(self) -> Inputs:
        """A ramp from -1 to 1."""
        size = int(np.prod(self._shape))
        return {_NAME: np.linspace(-1, 1, size, dtype=np.float32).reshape(self._shape)}

    def shapes(self, batch_size: int) -> Shapes:
        """Shapes and dtypes of what `stack` returns."""
        return {_NAME: jax.ShapeDtypeStruct((batch_size, *self._shape), np.float32)}

    def stack(self, batch: Sequence[Inputs]) -> HostActivation:
        """Raises: InvalidInput, naming the tensor and what is wrong with it."""
        for inputs in batch:
            self._check(inputs)
        return {_NAME: np.stack([inputs[_NAME] for inputs in batch])}

    def _check(self, inputs: Inputs) -> None:
        for name in inputs:
            if name != _NAME:
                raise InvalidInput(f"unknown input {name!r}: this model takes {_NAME}")
        if _NAME not in inputs:
            raise InvalidInput(f"missing input {_NAME!r}")
        pixels = inputs[_NAME]
        if pixels.dtype != np.float32:
            raise InvalidInput(f"{_NAME} has dtype {pixels.dtype}, expected float32")
        if pixels.shape != self._shape:
            raise InvalidInput(f"{_NAME} has shape {pixels.shape}, expected {self._shape}")
        outside = np.argwhere(~np.isfinite(pixels))
        if outside.size:
            place = tuple(outside[0].tolist())
            raise InvalidInput(f"{_NAME}{list(place)} is {pixels[place]}, expected a finite number")
