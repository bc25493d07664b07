"""`alpaserve apply --watch`: a transition as it goes on, live in a terminal, else a JSON line for every event."""

import json
import queue
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Thread

from alpaserve.v1 import placement_pb2, planner_pb2
from alpaserve_client import AlpaServeClientError, PlannerClient
from rich.console import Group as Lines
from rich.console import RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from alpaserve_cli.output import Output
from alpaserve_cli.transition_events import events, group_name, is_over, kind_name, state_name

# What fits on a screen.
_SHOWN_STEPS = 24
_LOOK_EVERY_S = 0.1
_FIRST_LOOK_S = 10.0
_LAST_WORDS_S = 2.0

Transition = planner_pb2.Transition
Show = Callable[[Transition], None]


def watch_next(client: PlannerClient, output: Output) -> None:
    """Show the transition under way, or else the next one, to its end or the planner's."""
    with shown(output) as show:
        first = True
        for transition in client.watch_transition():
            if transition is not None and not (first and is_over(transition)):
                show(transition)
                if is_over(transition):
                    return
            first = False


def apply_watched(
    client: PlannerClient, wanted: placement_pb2.Placement, expected_version: int, output: Output
) -> planner_pb2.ApplyPlanResponse:
    """Make a placement the running one, and show how. Raises: as `PlannerClient.apply`."""
    looks = Looks(client)
    before = looks.next(_FIRST_LOOK_S)
    with ThreadPoolExecutor(1) as beside, shown(output) as show:
        applying = beside.submit(client.apply, wanted, expected_version=expected_version)
        for transition in looks.until(applying):
            if before is None or transition.number != before.number:
                show(transition)
        return applying.result()


class Looks:
    """The states of transitions as they come, in a thread of its own, so that their absence stops nobody. If the
    planner cannot be watched, or not any more, that is told on stderr, and no more come."""

    def __init__(self, client: PlannerClient) -> None:
        self._client = client
        self._queue: queue.SimpleQueue[Transition | AlpaServeClientError | None] = queue.SimpleQueue()
        self._is_broken = False
        Thread(target=self._follow, daemon=True).start()

    def next(self, timeout_s: float) -> Transition | None:
        """None if there is none in time."""
        try:
            look = self._queue.get(timeout=timeout_s)
        except queue.Empty:
            return None
        if isinstance(look, AlpaServeClientError):
            self._is_broken = True
            print(f"the transition cannot be watched: {look}", file=sys.stderr, flush=True)
            return None
        return look

    def until(self, applying: "Future[planner_pb2.ApplyPlanResponse]") -> Iterator[Transition]:
        """Until what is applied is applied, and its last state was seen."""
        last: Transition | None = None
        until_s = float("inf")
        while time.monotonic() < until_s:
            look = self.next(_LOOK_EVERY_S)
            if look is not None:
                last = look
                yield look
            if applying.done():
                was_last = last is not None and is_over(last)
                if applying.exception() is not None or was_last or self._is_broken:
                    return
                until_s = min(until_s, time.monotonic() + _LAST_WORDS_S)

    def _follow(self) -> None:
        try:
            for transition in self._client.watch_transition():
                self._queue.put(transition)
        except AlpaServeClientError as error:
            self._queue.put(error)
        except ValueError:
            return  # the channel was closed before the stream was opened


@contextmanager
def shown(output: Output) -> Iterator[Show]:
    """Where transitions are shown to."""
    if output is Output.JSON or not sys.stdout.isatty():
        yield print_events()
        return
    with Live(refresh_per_second=10) as live:
        yield lambda transition: live.update(picture(transition))


def print_events() -> Show:
    """Prints what is new since the last look, one document a line."""
    seen: list[Transition] = []

    def show(transition: Transition) -> None:
        for event in events(seen[-1] if seen else None, transition):
            print(json.dumps(event, allow_nan=False), flush=True)
        seen[:] = [transition]

    return show


def picture(transition: Transition) -> Lines:
    """How far a transition is: a bar, the models that are down, and the steps around those that are taken."""
    num_ended = sum(step.HasField("end_s") for step in transition.steps)
    elapsed_s = elapsed(transition)
    heading = (
        f"Transition {transition.number} {state_name(transition)}: {num_ended} of {len(transition.steps)} steps, "
        f"{elapsed_s:.1f} s of {transition.predicted_s:.1f} s predicted"
    )
    lines: list[RenderableType] = [
        Text(heading),
        ProgressBar(total=max(len(transition.steps), 1), completed=num_ended, width=60),
    ]
    down = [down.model for down in transition.down if not down.HasField("end_s")]
    if down:
        lines.append(Text(f"down: {' '.join(down)}", style="red"))
    if transition.error:
        lines.append(Text(transition.error, style="red"))
    return Lines(*lines, steps_table(transition))


def elapsed(transition: Transition) -> float:
    if transition.HasField("transition_s"):
        return transition.transition_s
    return max(0.0, time.time() - transition.began_at.ToNanoseconds() / 1e9)


def steps_table(transition: Transition) -> Table:
    """The steps from a little before the first that has not ended."""
    ended = [step.HasField("end_s") for step in transition.steps]
    first = max(0, min(ended.index(False) if False in ended else 0, len(ended) - _SHOWN_STEPS + 4) - 4)
    table = Table(box=None)
    for name in ("", "step", "group", "model"):
        table.add_column(name)
    for name in ("predicted s", "took s"):
        table.add_column(name, justify="right")
    for step in transition.steps[first : first + _SHOWN_STEPS]:
        mark = "✓" if step.HasField("end_s") else "▸" if step.HasField("begin_s") else "·"
        took = f"{step.end_s - step.begin_s:.2f}" if step.HasField("end_s") else ""
        predicted = f"{step.predicted_end_s - step.predicted_begin_s:.2f}"
        table.add_row(mark, kind_name(step), group_name(step), step.model, predicted, took)
    return table
