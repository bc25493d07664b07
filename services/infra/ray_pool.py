"""Functions mapped over the tasks of a Ray cluster. Large parts that many items share are sent once.

A Ray driver dies with its cluster, so it is a process of its own. Whatever goes wrong with it, the same
functions run in this process instead: they have no effects.
"""

import asyncio
import io
import multiprocessing
import pickle
import signal
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

import structlog

log = structlog.get_logger()

CONNECT_TIMEOUT_S = 2.0
JOIN_TIMEOUT_S = 60.0
LEAVE_TIMEOUT_S = 10.0
# A driver that cannot join or is gone, and items that cannot be sent.
_FAILURES = (OSError, EOFError, RuntimeError, pickle.PicklingError, AttributeError, TypeError)

Pool = Callable[[Callable[[Any], Any], Sequence[Any]], Iterable[Any]]


@asynccontextmanager
async def ray_pool(address: str, shared_kinds: tuple[type, ...], fallback: Pool) -> AsyncIterator[Pool]:
    """A pool on the cluster while the block runs, the fallback if it cannot be reached.

    Objects of `shared_kinds` within items are sent once, and come back in results as the same objects.
    """
    try:
        driver = await asyncio.to_thread(Driver, address)
    except _FAILURES as error:
        log.warning("ray_unreachable", address=address, error=str(error))
        yield fallback
        return
    log.info("ray_joined", address=address)
    pool = RayPool(driver, shared_kinds, fallback)
    try:
        yield pool
    finally:
        await asyncio.to_thread(pool.close)


class Driver:
    """The process that is connected to Ray."""

    def __init__(self, address: str) -> None:
        """Raises: OSError, EOFError or RuntimeError if it cannot connect."""
        check_answers(address)
        spawning = multiprocessing.get_context("spawn")
        self._connection, theirs = spawning.Pipe()
        self._process: BaseProcess = spawning.Process(target=drive, args=(theirs, address), daemon=True)
        self._process.start()
        theirs.close()
        try:
            if not self._connection.poll(JOIN_TIMEOUT_S):
                raise RuntimeError(f"not joined within {JOIN_TIMEOUT_S:g} s")
            self._answer()
        except (OSError, EOFError, RuntimeError):
            self.close()
            raise

    def run(self, parts: Sequence[bytes], calls: Sequence[tuple[bytes, Sequence[int]]]) -> list[bytes]:
        """Send further shared parts, then packed calls, each with the numbers of its parts; their packed
        results. Raises: OSError, EOFError or RuntimeError."""
        self._connection.send((parts, calls))
        return list(self._answer())

    def close(self) -> None:
        self._connection.close()
        self._process.join(LEAVE_TIMEOUT_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _answer(self) -> Sequence[bytes]:
        answer: list[bytes] | str = self._connection.recv()
        if isinstance(answer, str):
            raise RuntimeError(answer)
        return answer


class RayPool:
    """A map over Ray tasks of one core each, one map at a time."""

    def __init__(self, driver: Driver, shared_kinds: tuple[type, ...], fallback: Pool) -> None:
        self._driver: Driver | None = driver
        self._shared_kinds = shared_kinds
        self._fallback = fallback
        self._lock = threading.Lock()
        self._sent: list[Any] = []

    def __call__(self, function: Callable[[Any], Any], items: Sequence[Any]) -> Iterable[Any]:
        """The function's results, in the items' order."""
        with self._lock:
            if self._driver is not None:
                try:
                    return self._mapped(self._driver, function, items)
                except _FAILURES as error:
                    log.warning("ray_map_failed", error=(str(error) or type(error).__name__).splitlines()[0])
                    self._close()
        return self._fallback(function, items)

    def close(self) -> None:
        """Wait for a map that is under way; later ones run on the fallback."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        driver, self._driver = self._driver, None
        self._sent.clear()
        if driver is not None:
            driver.close()

    def _mapped(self, driver: Driver, function: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        shared: list[list[Any]] = [[] for _ in items]
        packed = [pack((function, item), self._shared_kinds, own) for item, own in zip(items, shared, strict=True)]
        first_new = len(self._sent)
        numbers = [[self._number(part) for part in own] for own in shared]
        new = [pickle.dumps(part, protocol=5) for part in self._sent[first_new:]]
        results = driver.run(new, list(zip(packed, numbers, strict=True)))
        return [unpack(result, own) for result, own in zip(results, shared, strict=True)]

    def _number(self, part: Any) -> int:
        for number, known in enumerate(self._sent):
            if known is part:
                return number
        self._sent.append(part)
        return len(self._sent) - 1


class _Packer(pickle.Pickler):
    """Leaves out the objects in `shared`, and adds those of `kinds` to it."""

    def __init__(self, file: io.BytesIO, kinds: tuple[type, ...], shared: list[Any]) -> None:
        super().__init__(file, protocol=5)
        self._kinds = kinds
        self._shared = shared

    def persistent_id(self, thing: Any) -> int | None:
        for index, known in enumerate(self._shared):
            if known is thing:
                return index
        if not isinstance(thing, self._kinds):
            return None
        self._shared.append(thing)
        return len(self._shared) - 1


class _Unpacker(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, shared: Sequence[Any]) -> None:
        super().__init__(file)
        self._shared = shared

    def persistent_load(self, index: int) -> Any:
        return self._shared[index]


def pack(thing: Any, kinds: tuple[type, ...], shared: list[Any]) -> bytes:
    """The thing without its parts of these kinds, which join `shared`, in place."""
    file = io.BytesIO()
    _Packer(file, kinds, shared).dump(thing)
    return file.getvalue()


def unpack(packed: bytes, shared: Sequence[Any]) -> Any:
    """The inverse of `pack`."""
    return _Unpacker(io.BytesIO(packed), shared).load()


def run_packed(packed: bytes, *shared: bytes) -> bytes:
    """In a task: call a packed function; of what is shared the result only names which it is."""
    parts = [pickle.loads(part) for part in shared]
    function, item = unpack(packed, parts)
    return pack(function(item), (), parts)


def check_answers(address: str) -> None:
    """Raises: OSError if nothing listens there; Ray itself would try for a minute."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdigit():
        socket.create_connection((host, int(port)), CONNECT_TIMEOUT_S).close()


def drive(connection: Connection, address: str) -> None:
    """In the driver's process: answer maps until the other end is gone. A text instead says what failed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        import ray

        ray.init(address=address, configure_logging=False, log_to_driver=False)
    except Exception as error:
        connection.send(f"{type(error).__name__}: {error}")
        return
    connection.send([])
    # Shared parts travel as bytes: arrays out of Ray's store would be read-only.
    task = ray.remote(num_cpus=1)(run_packed)
    references: list[Any] = []
    while True:
        try:
            parts, calls = connection.recv()
        except EOFError:
            break
        references += [ray.put(part) for part in parts]
        running = [task.remote(packed, *(references[number] for number in numbers)) for packed, numbers in calls]
        try:
            connection.send(ray.get(running))
        except ray.exceptions.RayError as error:
            connection.send(f"{type(error).__name__}: {error}")
    ray.shutdown()
