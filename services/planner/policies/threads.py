"""Work beside the caller: in one thread that no process waits for, or in several, told of as it is done."""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from typing import Any, TypeVar

from services.planner.policies.search import Pool

ResultT = TypeVar("ResultT")


def aside(function: Callable[..., ResultT], *arguments: Any) -> "Future[ResultT]":
    """The function's result, from a thread that no process waits for at its end."""
    future: Future[ResultT] = Future()
    future.set_running_or_notify_cancel()

    def run() -> None:
        try:
            future.set_result(function(*arguments))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


@contextmanager
def unordered(num_threads: int) -> Iterator[Pool]:
    """Runs a function on items in threads; results as they are done. What waits is dropped at a failure."""
    with ThreadPoolExecutor(num_threads, "unordered") as threads:

        def as_done(function: Callable[[Any], Any], items: Sequence[Any]) -> Iterable[Any]:
            for done in as_completed([threads.submit(function, item) for item in items]):
                yield done.result()

        try:
            yield as_done
        finally:
            threads.shutdown(wait=False, cancel_futures=True)
