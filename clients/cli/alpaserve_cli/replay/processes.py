"""One replay by several processes, each with connections and a loop of its own: every process sends each N-th request,
at times that count from one instant."""

import asyncio
import multiprocessing
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import reduce
from multiprocessing.connection import Connection, wait
from operator import add
from typing import Any

import uvloop

from alpaserve_cli.failures import CommandError
from alpaserve_cli.inputs import InputSource
from alpaserve_cli.replay.ledger import as_sent
from alpaserve_cli.replay.merging import merged
from alpaserve_cli.replay.options import Progress, ReplayOptions, Share
from alpaserve_cli.replay.outcomes import ReplayResult
from alpaserve_cli.replay.sender import OnProgress, Sender, addresses, new_run_id
from services.core.workload import Workload

# Until every process has heard of the beginning.
_LEAD_IN_S = 0.3
_PATIENCE_S = 5.0


class ProcessesReplay:
    """One replay by `num_processes`; it blocks. `stop` it from a signal handler or another thread."""

    def __init__(
        self,
        workload: Workload,
        routers: str | Sequence[str],
        inputs: InputSource,
        options: ReplayOptions,
        num_processes: int,
    ) -> None:
        self._arrivals = as_sent(workload, options.speed)
        self._routers = addresses(routers)
        self._inputs = inputs
        self._options = options
        run_id = new_run_id()
        self._shares = [Share(first, num_processes, run_id) for first in range(num_processes)]
        self._orders: list[Connection] = []
        self._news: list[Connection] = []
        self._is_stopping = False

    def stop(self) -> None:
        """Send no more; what was sent is still waited for."""
        self._is_stopping = True
        for orders in self._orders:
            _tell(orders, None)

    def run(self, on_progress: OnProgress | None = None) -> ReplayResult:
        """Send everything and wait for the answers.

        Raises: TimeoutError if a router cannot be reached; CommandError if a process ends without a word; whatever
        the inputs raise for a model.
        """
        with self._senders():
            self._gather(lambda _: None)
            begin_s = time.monotonic() + _LEAD_IN_S
            for orders in self._orders:
                _tell(orders, begin_s)
            if self._is_stopping:
                self.stop()
            results = self._gather(on_progress or (lambda _: None))
        return merged(self._arrivals, self._shares, results, self._options.num_warm_up)

    @contextmanager
    def _senders(self) -> Iterator[None]:
        spawning = multiprocessing.get_context("spawn")
        processes = []
        for share in self._shares:
            # Two, as an event loop that reads makes its end one that does not wait when it writes.
            orders_there, orders_here = spawning.Pipe(duplex=False)
            news_here, news_there = spawning.Pipe(duplex=False)
            sending = (self._part(share), self._routers, self._inputs, self._part_options(share), share)
            processes.append(
                spawning.Process(target=_run_share, args=(*sending, orders_there, news_there), daemon=True)
            )
            with _interrupts_kept_away():
                processes[-1].start()
            orders_there.close()
            news_there.close()
            self._orders.append(orders_here)
            self._news.append(news_here)
        try:
            yield
        finally:
            for connection in (*self._orders, *self._news):
                connection.close()
            for process in processes:
                process.join(_PATIENCE_S)
                process.kill()

    def _part(self, share: Share) -> Workload:
        whole = self._arrivals
        rows = share.rows
        return Workload(whole.arrival_s[rows], whole.model[rows], whole.slo_s[rows], whole.names)

    def _part_options(self, share: Share) -> ReplayOptions:
        return replace(self._options, num_warm_up=share.num_of(self._options.num_warm_up))

    def _gather(self, on_progress: OnProgress) -> list[Any]:
        """What each process says at the end of a phase; their progress together is told on the way."""
        progress: dict[Connection, Progress] = {}
        said: dict[Connection, Any] = {}
        num_told = 0
        while len(said) < len(self._news):
            waiting = [one for one in self._news if one not in said]
            ready = wait(waiting)
            for connection in (one for one in waiting if one in ready):
                message = _heard(connection)
                if isinstance(message, Progress):
                    progress[connection] = message
                    num_told += 1
                    if num_told % len(self._news) == 0:
                        on_progress(reduce(add, progress.values()))
                elif isinstance(message, Exception):
                    raise message
                else:
                    said[connection] = message
        return [said[connection] for connection in self._news]


def _heard(connection: Connection) -> Any:
    try:
        return connection.recv()
    except (EOFError, OSError):
        raise CommandError("a sending process ended before its requests did") from None


def _tell(connection: Connection, message: float | None) -> None:
    """A process that is gone, or going, needs no words."""
    try:
        connection.send(message)
    except OSError:
        return


@contextmanager
def _interrupts_kept_away() -> Iterator[None]:
    """Processes that start now ignore Ctrl-C: their parent tells them when to stop."""
    try:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    except ValueError:  # not the main thread, which alone has handlers
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _run_share(
    arrivals: Workload,
    routers: Sequence[str],
    inputs: InputSource,
    options: ReplayOptions,
    share: Share,
    orders: Connection,
    news: Connection,
) -> None:
    """The whole life of a sending process: tell when connected, hear when to begin, tell the result."""
    sender = Sender(arrivals, routers, inputs, options, share)
    try:
        news.send(uvloop.run(_send(sender, orders, news)))
    except BrokenPipeError:
        return  # whoever asked is gone
    except Exception as error:
        news.send(error)


async def _send(sender: Sender, orders: Connection, news: Connection) -> ReplayResult:
    loop = asyncio.get_running_loop()
    begin: asyncio.Future[float] = loop.create_future()

    def hear() -> None:
        """An instant to begin at, then None to stop, as the parent's end does."""
        try:
            order = orders.recv()
        except EOFError:
            loop.remove_reader(orders.fileno())
            order = None
        if order is None:
            sender.stop()
        if not begin.done():
            begin.set_result(time.monotonic() if order is None else order)

    async def connected() -> float:
        news.send(None)
        return await begin

    loop.add_reader(orders.fileno(), hear)
    try:
        return await sender.run(connected, news.send)
    finally:
        loop.remove_reader(orders.fileno())
