"""The timeline of the running placement under a workload: the live one, one that is drawn, or one that was sent."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from services.core.arrivals import gamma_workload
from services.core.attainment import Report, report
from services.core.batched_simulator import simulate_as_placed
from services.core.errors import InvalidArgument
from services.core.placement import Placement
from services.core.problem import Problem
from services.core.workload import Workload, parse_workload
from services.pages.schedules import predicted_schedule
from services.pages.timeline_picture import TimelinePicture, cut_of, timeline_picture
from services.planner.web.forms import Form, number, whole

MOST_REQUESTS, MOST_BYTES, MOST_KEPT, MOST_LIVE = 50_000, 4 * 2**20, 8, 4
MOST_RATE, MOST_DURATION_S = 10_000.0, 3_600.0


@dataclass(frozen=True, slots=True)
class KeptWorkload:
    """A workload to look at more than once, and what it is, in words; `num_cut` requests of it are left out."""

    number: int
    label: str
    workload: Workload
    num_cut: int


class KeptWorkloads:
    """The last ones that somebody sent or had drawn, and apart from them the last live ones, which every look takes."""

    def __init__(self) -> None:
        self._own: OrderedDict[int, KeptWorkload] = OrderedDict()
        self._live: OrderedDict[int, KeptWorkload] = OrderedDict()
        self._numbers = count(1)

    def keep(self, workload: Workload, label: str, *, is_live: bool = False) -> KeptWorkload:
        """Of a large one only the first requests."""
        num_cut = max(len(workload) - MOST_REQUESTS, 0)
        if num_cut:
            first = slice(MOST_REQUESTS)
            workload = Workload(workload.arrival_s[first], workload.model[first], workload.slo_s[first], workload.names)
        kept = KeptWorkload(next(self._numbers), label, workload, num_cut)
        among, most = (self._live, MOST_LIVE) if is_live else (self._own, MOST_KEPT)
        among[kept.number] = kept
        if len(among) > most:
            among.popitem(last=False)
        return kept

    def get(self, number: int) -> KeptWorkload | None:
        return self._own.get(number) or self._live.get(number)


@dataclass(frozen=True, slots=True)
class Drawing:
    """A workload to draw: alike arrivals of every model, `rate_per_s` of them together."""

    rate_per_s: float
    cv: float
    duration_s: float
    seed: int

    def draw(self, models: Sequence[str]) -> Workload:
        """Raises: InvalidArgument for more than may be drawn."""
        if self.rate_per_s * self.duration_s > MOST_REQUESTS:
            most = MOST_REQUESTS / self.duration_s
            raise InvalidArgument(f"at most {MOST_REQUESTS:,} requests: {most:g} a second for so long")
        each = self.rate_per_s / len(models)
        return gamma_workload(dict.fromkeys(models, each), self.cv, self.duration_s, self.seed)


def read_drawing(texts: Mapping[str, str]) -> tuple[Form, Drawing]:
    """The form with its faults if it has any."""
    form = Form(texts)
    drawing = Drawing(
        rate_per_s=form.read("rate", lambda text: number(text, 0, MOST_RATE, above=True), 10.0),
        cv=form.read("cv", lambda text: number(text, 0.01, 100), 1.0),
        duration_s=form.read("duration", lambda text: number(text, 1, MOST_DURATION_S), 60.0),
        seed=form.read("seed", lambda text: whole(text, 0, 2**32), 0),
    )
    if not form.faults and drawing.rate_per_s * drawing.duration_s > MOST_REQUESTS:
        form.faults["rate"] = f"{drawing.rate_per_s * drawing.duration_s:,.0f} requests; at most {MOST_REQUESTS:,}"
    return form, drawing


def sent_workload(content: bytes) -> Workload:
    """Raises: InvalidArgument for what is too large or no text, InvalidWorkload for what is no workload."""
    if len(content) > MOST_BYTES:
        raise InvalidArgument(f"{len(content):,} bytes are too many; at most {MOST_BYTES:,}")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidArgument(f"not UTF-8 text: byte {content[error.start]:#04x}") from None
    return parse_workload(text.splitlines())


@dataclass(frozen=True, slots=True)
class Zoom:
    """The part of the time to show; None where the picture chooses."""

    begin_s: float | None = None
    length_s: float | None = None


def read_zoom(texts: Mapping[str, str]) -> tuple[Form, Zoom]:
    form = Form(texts)
    begin_s = form.read("begin", lambda text: number(text, 0, 1e7), None)
    length_s = form.read("length", lambda text: number(text, 0, 1e7, above=True), None)
    return form, Zoom(begin_s, length_s)


@dataclass(frozen=True, slots=True)
class Simulated:
    """What the simulator says, and its picture."""

    report: Report
    picture: TimelinePicture


def simulated(problem: Problem, placement: Placement, names: Sequence[str], zoom: Zoom) -> Simulated:
    """Simulate and draw. Raises: what a placement that cannot be raises."""
    outcome = simulate_as_placed(problem, placement)
    schedule = predicted_schedule(problem, placement, outcome, names)
    cut = cut_of(schedule, zoom.begin_s, zoom.length_s)
    return Simulated(report(problem, placement, outcome), timeline_picture(schedule, cut))
