"""What waits to be written to a stream: several messages share the cost of a write."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

# A bundle that holds so much takes no further message; a larger message travels by itself.
BUNDLE_BYTES = 64 * 1024


class Bundle(Protocol):
    """A message with room for others of its kind."""

    @property
    def more(self) -> Any: ...


BundleT = TypeVar("BundleT", bound=Bundle)


class Outbox(Generic[BundleT]):
    """Bundles of messages, in order: many `add`, one `take`s. Whoever adds bounds what is under way."""

    def __init__(self, kind: Callable[[], BundleT]) -> None:
        self._kind = kind
        self._bundles: deque[BundleT] = deque()
        self._num_bytes = 0
        self._is_closed = False
        self._changed = asyncio.Event()

    def add(self, num_bytes: int) -> BundleT:
        """A new last message, to be filled in at once with about so many bytes."""
        if not self._bundles or self._num_bytes + num_bytes > BUNDLE_BYTES:
            self._bundles.append(self._kind())
            self._num_bytes = 0
            self._changed.set()
        self._num_bytes += num_bytes
        added: BundleT = self._bundles[-1].more.add()
        return added

    def close(self) -> None:
        """Nothing is added any more."""
        self._is_closed = True
        self._changed.set()

    async def take(self) -> BundleT | None:
        """The first bundle, once there is one; None once the outbox is closed and empty."""
        if not self._bundles and not self._is_closed:
            self._changed.clear()
            await self._changed.wait()
        return self._bundles.popleft() if self._bundles else None

    def rest(self) -> list[BundleT]:
        """The bundles that nobody has taken."""
        return list(self._bundles)
