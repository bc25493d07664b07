"""What a router holds at once."""

import math

from services.core.errors import InvalidInput, SloUnattainable

RETRY_AFTER_S = 1.0


class Holdings:
    """Bounds the requests that are held: their number from the first byte on, their bytes once they have arrived."""

    def __init__(self, max_in_flight: int, max_bytes: int) -> None:
        self._max_in_flight = max_in_flight
        self._max_bytes = max_bytes
        self._num_in_flight = 0
        self._num_bytes = 0

    def enter(self) -> int:
        """Hold one request more; returns 1. Raises: SloUnattainable if there are as many already."""
        return self._hold(1)

    def join(self, num_examples: int) -> int:
        """Hold the other examples of a request that is held; returns how many.

        Raises: SloUnattainable if that is too many now, InvalidInput if it always is.
        """
        if num_examples >= self._max_in_flight:
            allowed = f"allowed are {self._max_in_flight}"
            raise InvalidInput(f"a batch of {num_examples + 1} examples, {allowed}")
        return self._hold(num_examples) if num_examples else 0

    def take(self, num_bytes: int) -> int:
        """Hold so many bytes more; returns them. One request alone may be of any size.

        Raises: SloUnattainable if that is too much.
        """
        if self._num_bytes and self._num_bytes + num_bytes > self._max_bytes:
            raise too_many(f"{self._num_bytes} bytes of requests")
        self._num_bytes += num_bytes
        return num_bytes

    def leave(self, num_requests: int, num_bytes: int) -> None:
        """Give back requests, and the bytes that were taken for them."""
        self._num_in_flight -= num_requests
        self._num_bytes -= num_bytes

    def _hold(self, num_requests: int) -> int:
        if self._num_in_flight + num_requests > self._max_in_flight:
            raise too_many(f"{self._num_in_flight} requests")
        self._num_in_flight += num_requests
        return num_requests


def too_many(what: str) -> SloUnattainable:
    return SloUnattainable(f"this router holds {what} already", math.inf, 0.0, RETRY_AFTER_S)
