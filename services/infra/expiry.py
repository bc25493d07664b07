"""Time limits for blocks: `asyncio.timeout`, at a fraction of what that costs a request."""

import asyncio
from types import TracebackType
from typing import Self

# Limits that end within the same so many seconds share a timer.
TICK_S = 0.002


class Expiries:
    """The limits of one event loop."""

    def __init__(self) -> None:
        self._due: dict[int, list[Expiry]] = {}

    def after(self, delay_s: float) -> "Expiry":
        """`with expiries.after(seconds)`: what the block awaits is cancelled once the time is over, or a tick later.

        Raises: TimeoutError then, at the block's end. Another's cancellation stays what it is.
        """
        return Expiry(self, delay_s)

    def add(self, expiry: "Expiry", delay_s: float) -> None:
        loop = asyncio.get_running_loop()
        tick = int((loop.time() + max(delay_s, 0.0)) / TICK_S) + 1
        due = self._due.get(tick)
        if due is None:
            due = self._due[tick] = []
            loop.call_at(tick * TICK_S, self._expire, tick)
        due.append(expiry)

    def _expire(self, tick: int) -> None:
        for expiry in self._due.pop(tick):
            expiry.expire()


class Expiry:
    """One block's limit."""

    __slots__ = ("_delay_s", "_expiries", "_has_expired", "_num_cancelling", "_task")

    def __init__(self, expiries: Expiries, delay_s: float) -> None:
        self._expiries = expiries
        self._delay_s = delay_s
        self._has_expired = False

    def __enter__(self) -> Self:
        """Raises: RuntimeError outside of a task."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("an expiry needs a task")
        self._task: asyncio.Task[object] | None = task
        self._num_cancelling = task.cancelling()
        self._expiries.add(self, self._delay_s)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # Its timer lives on: it must not keep the task alive.
        task, self._task = self._task, None
        if not self._has_expired or task is None:
            return
        is_ours = task.uncancel() <= self._num_cancelling
        if is_ours and kind is not None and issubclass(kind, asyncio.CancelledError):
            raise TimeoutError from error

    def expire(self) -> None:
        if self._task is not None:
            self._has_expired = True
            self._task.cancel()
