"""Response streams that end with whoever reads them."""

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar, cast

from alpaserve_client.errors import typed_errors

ResponseT = TypeVar("ResponseT")


class _Cancellable(Protocol):
    def cancel(self) -> object: ...


def responses(call: Iterable[ResponseT]) -> Iterator[ResponseT]:
    """What the call streams; closing the iterator early cancels the call.

    Raises: the AlpaServeClientError of the call's status.
    """
    try:
        with typed_errors():
            yield from call
    finally:
        cast(_Cancellable, call).cancel()
