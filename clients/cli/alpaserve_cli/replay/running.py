"""One replay of a command: in this process or by several, stopped by Ctrl-C, its progress told."""

import asyncio
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import FrameType

import uvloop

from alpaserve_cli.failures import CommandError
from alpaserve_cli.inputs import InputSource
from alpaserve_cli.replay.options import Progress, ReplayOptions
from alpaserve_cli.replay.outcomes import ReplayResult
from alpaserve_cli.replay.processes import ProcessesReplay
from alpaserve_cli.replay.sender import OnProgress, Replay
from services.core.errors import InvalidArgument
from services.core.workload import Workload


@dataclass(slots=True)
class Runner:
    """Sends workloads to `routers`, one after the other, until interrupted."""

    routers: Sequence[str]
    inputs: InputSource
    options: ReplayOptions
    num_processes: int = 1
    is_interrupted: bool = False

    def __post_init__(self) -> None:
        if self.num_processes < 1:
            raise InvalidArgument(f"--processes must be at least 1, got {self.num_processes}")

    def run(self, workload: Workload, num_warm_up: int, on_progress: OnProgress) -> ReplayResult:
        """Returns when the last answer is in; `on_progress` may raise StopSending.

        Raises: CommandError if no router answers; whatever the inputs raise for a model.
        """
        options = replace(self.options, num_warm_up=num_warm_up)
        for name, num_requests in zip(workload.names, workload.num_requests_of, strict=True):
            if num_requests:
                self.inputs(name, 0)
        try:
            if self.num_processes == 1:
                return uvloop.run(self._run_here(workload, options, on_progress))
            return self._run_in_processes(workload, options, on_progress)
        except TimeoutError as error:
            raise CommandError(str(error)) from None

    async def _run_here(self, workload: Workload, options: ReplayOptions, on_progress: OnProgress) -> ReplayResult:
        run = Replay(workload, self.routers, self.inputs, options)
        loop = asyncio.get_running_loop()

        def interrupt() -> None:
            self.is_interrupted = True
            run.stop()
            loop.remove_signal_handler(signal.SIGINT)

        loop.add_signal_handler(signal.SIGINT, interrupt)
        return await run.run(stopping(on_progress, run))

    def _run_in_processes(self, workload: Workload, options: ReplayOptions, on_progress: OnProgress) -> ReplayResult:
        run = ProcessesReplay(workload, self.routers, self.inputs, options, self.num_processes)

        def interrupt() -> None:
            self.is_interrupted = True
            run.stop()

        with _on_interrupt(interrupt):
            return run.run(stopping(on_progress, run))


class StopSending(Exception):
    """What a teller of progress raises when it has seen enough."""


def stopping(on_progress: OnProgress, run: Replay | ProcessesReplay) -> OnProgress:
    def tell(progress: Progress) -> None:
        try:
            on_progress(progress)
        except StopSending:
            run.stop()

    return tell


@contextmanager
def _on_interrupt(interrupt: Callable[[], None]) -> Iterator[None]:
    """Ctrl-C calls `interrupt` once; the next one ends the command as ever."""

    def handle(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        interrupt()

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
