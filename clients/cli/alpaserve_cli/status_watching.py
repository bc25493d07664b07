"""`alpaserve status --watch`: the running system as it goes on, live in a terminal, else a JSON line for every look."""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from select import select

from alpaserve.v1 import planner_pb2
from alpaserve_client import AlpaServeClientError, PlannerClient
from rich.live import Live
from rich.text import Text

from alpaserve_cli.output import Output
from alpaserve_cli.status import status_document
from alpaserve_cli.status_picture import picture

Status = planner_pb2.GetStatusResponse
Show = Callable[[Status | None, str], None]
Wait = Callable[[float], bool]


def watch_status(client: PlannerClient, every_s: float, output: Output) -> None:
    """Show the system again and again until the watcher has seen enough; outlives the planner."""
    found: Status | None = None
    silent_since_s: float | None = None
    try:
        with interruptions() as interrupted, shown(output) as show, keys() as enough:
            while True:
                trouble = ""
                try:
                    found = client.status()
                    silent_since_s = None
                except AlpaServeClientError as error:
                    silent_since_s = silent_since_s or time.monotonic()
                    trouble = f"for {time.monotonic() - silent_since_s:.0f} s the planner has not answered: {error}"
                show(found, trouble)
                if enough(every_s) or interrupted():
                    return
    except KeyboardInterrupt:
        return


@contextmanager
def interruptions() -> Iterator[Callable[[], bool]]:
    """Tells whether Ctrl-C was pressed: raised amid a call, it may be lost, or leave the channel unable to close.
    Pressed again, it is raised all the same."""
    was_pressed = False

    def press(number: int, frame: object) -> None:
        nonlocal was_pressed
        was_pressed = True
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, press)
    try:
        yield lambda: was_pressed
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def shown(output: Output) -> Iterator[Show]:
    """Where the system is shown to."""
    if output is Output.JSON or not sys.stdout.isatty():
        yield print_look
        return
    with Live(auto_refresh=False, vertical_overflow="ellipsis") as live:

        def show(found: Status | None, trouble: str) -> None:
            columns, lines = live.console.size
            screen = Text(trouble, "red") if found is None else picture(found, trouble, lines, columns)
            live.update(screen, refresh=True)

        yield show


def print_look(found: Status | None, trouble: str) -> None:
    """One document a line; what the planner does not answer is told on stderr."""
    if trouble or found is None:
        print(trouble, file=sys.stderr, flush=True)
    else:
        print(json.dumps(status_document(found), allow_nan=False), flush=True)


@contextmanager
def keys() -> Iterator[Wait]:
    """Waits so many seconds, and tells whether q was pressed meanwhile; without a keyboard it never is."""
    if not sys.stdin.isatty():
        yield passed
        return
    import termios
    import tty

    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    try:
        yield pressed_q
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def passed(within_s: float) -> bool:
    time.sleep(within_s)
    return False


def pressed_q(within_s: float) -> bool:
    """Other keys are passed over."""
    until_s = time.monotonic() + within_s
    while (left_s := until_s - time.monotonic()) > 0:
        if select([sys.stdin], [], [], left_s)[0]:
            pressed = os.read(sys.stdin.fileno(), 64)
            if not pressed or b"q" in pressed.lower():
                return True
    return False
