"""How a replay under way is shown: figures and bars per second on a terminal, or a JSON document a line."""

import json
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from enum import StrEnum

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from alpaserve_cli.output import percent
from alpaserve_cli.replay.options import Progress

_NUM_BARS = 60
_BARS = " ▁▂▃▄▅▆▇█"


class ProgressStyle(StrEnum):
    """What is told on stderr while a replay runs."""

    AUTO = "auto"
    JSON = "json"
    NONE = "none"


@dataclass(slots=True)
class Bars:
    """What was answered in each of the last seconds: in time, and otherwise."""

    seconds: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=_NUM_BARS))
    _begin_s: float = 0.0
    _served: int = 0
    _missed: int = 0

    def note(self, progress: Progress) -> None:
        """A replay that begins anew begins new bars."""
        served = progress.outcomes["served"]
        missed = sum(progress.outcomes.values()) - served
        if progress.elapsed_s < self._begin_s:
            self.seconds.clear()
            self._begin_s = self._served = self._missed = 0
        if progress.elapsed_s - self._begin_s >= 1:
            self.seconds.append((served - self._served, missed - self._missed))
            self._begin_s, self._served, self._missed = progress.elapsed_s, served, missed

    def lines(self) -> list[Text]:
        highest = max((max(second) for second in self.seconds), default=0)
        served = "".join(_bar(second[0], highest) for second in self.seconds)
        missed = "".join(_bar(second[1], highest) for second in self.seconds)
        return [Text(f"in time {served} {highest}/s", "green"), Text(f"missed  {missed}", "red")]


def _bar(count: int, highest: int) -> str:
    """A count that is not 0 is seen."""
    return _BARS[-(-count * (len(_BARS) - 1) // highest)] if count else _BARS[0]


Show = Callable[[Progress], None]


@contextmanager
def showing(style: ProgressStyle) -> Iterator[Show]:
    """Shows progress on stderr until the end, and is gone from a terminal then."""
    if style is ProgressStyle.JSON:
        yield _show_json
    elif style is ProgressStyle.AUTO and sys.stderr.isatty():
        bars = Bars()
        with Live(console=Console(stderr=True), transient=True, auto_refresh=False) as live:

            def show(progress: Progress) -> None:
                bars.note(progress)
                live.update(Group(Text(progress_text(progress)), *bars.lines()), refresh=True)

            yield show
    else:
        yield lambda _: None


def _show_json(progress: Progress) -> None:
    document = asdict(progress) | {"attainment": progress.attainment}
    print(json.dumps(document), file=sys.stderr, flush=True)


def progress_text(progress: Progress) -> str:
    """In one line."""
    outcomes = " ".join(f"{name} {count}" for name, count in progress.outcomes.items())
    rate_per_s = progress.num_sent / progress.elapsed_s if progress.elapsed_s > 0 else 0.0
    return (
        f"{progress.elapsed_s:6.1f} s  sent {progress.num_sent}/{progress.num_requests} ({rate_per_s:.0f}/s)  "
        f"in flight {progress.num_in_flight}  attained {percent(progress.attainment) or '–'}  {outcomes}"
    )
