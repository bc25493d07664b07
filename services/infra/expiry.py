"""A time limit for a block: `asyncio.timeout`, at a third of what that costs a request."""

import asyncio
from types import TracebackType
from typing import Self


class Expiry:
    """`with Expiry(seconds)`: what the block awaits is cancelled once the time is over.

    Raises: TimeoutError then. Another's cancellation stays what it is.
    """

    __slots__ = ("_delay_s", "_has_expired", "_num_cancelling", "_task", "_timer")

    def __init__(self, delay_s: float) -> None:
        self._delay_s = delay_s
        self._has_expired = False

    def __enter__(self) -> Self:
        """Raises: RuntimeError outside of a task."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("an expiry needs a task")
        self._task = task
        self._num_cancelling = task.cancelling()
        self._timer = asyncio.get_running_loop().call_later(max(0.0, self._delay_s), self._expire)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if not self._has_expired:
            return
        is_ours = self._task.uncancel() <= self._num_cancelling
        if is_ours and kind is not None and issubclass(kind, asyncio.CancelledError):
            raise TimeoutError from error

    def _expire(self) -> None:
        self._has_expired = True
        self._task.cancel()
