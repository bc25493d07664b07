"""One HTML file about a placement under a workload: as the simulator predicts it, and as a replay measured it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from services.core.attainment import LatencySummary, Outcome, Report, report, summarize_latency
from services.core.batched_simulator import simulate_as_placed
from services.core.errors import InvalidWorkload
from services.core.placement import Placement
from services.core.problem import Problem
from services.core.records import OUTCOMES, SERVED, Record
from services.pages.latency_picture import LatencyPicture, latency_picture
from services.pages.placement_picture import Labels, placement_picture
from services.pages.rendering import render
from services.pages.schedules import Schedule, measured_schedule, predicted_schedule
from services.pages.timeline_picture import TimelinePicture, cut_of, timeline_picture


@dataclass(frozen=True, slots=True)
class PlanFacts:
    """What a plan says beside its placement; None and empty where it does not."""

    policy: str = ""
    upper_bound: float | None = None
    held_out_attainment: float | None = None
    search_s: float | None = None
    num_simulations: int | None = None
    unplaced: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Part:
    """The part of the time that timelines show; None where the report chooses."""

    begin_s: float | None = None
    length_s: float | None = None


@dataclass(frozen=True, slots=True)
class Framing:
    """What a report is headed with, when it was made, in words, and what else it tells and shows.

    `labels` are the groups' names in the records where those are not their numbers.
    """

    title: str
    made_at: str
    plan: PlanFacts = PlanFacts()
    labels: Labels = field(default_factory=Labels)
    part: Part = Part()


@dataclass(frozen=True, slots=True)
class Measured:
    """What records say, in sum or of one model; `attainment` is None without requests."""

    attainment: float | None
    num_outcomes: Mapping[str, int]
    latency_s: LatencySummary


@dataclass(frozen=True, slots=True)
class ModelRow:
    """A model predicted and, with records, measured."""

    name: str
    slo_s: float
    num_requests: int
    attainment: float | None
    latency_s: LatencySummary
    measured: Measured | None

    @property
    def difference(self) -> float | None:
        own = None if self.measured is None else self.measured.attainment
        return None if own is None or self.attainment is None else own - self.attainment


def replay_report(
    problem: Problem, placement: Placement, framing: Framing, records: Sequence[Record] | None = None
) -> str:
    """The report as HTML without outside assets. `problem` holds the workload that was, or would be, sent.

    Raises: InvalidWorkload for a record of a model that the spec lacks; InvalidPlacement, UnknownProfile or DoesNotFit
    if the placement cannot be.
    """
    check_models(problem, records or ())
    outcome = simulate_as_placed(problem, placement)
    predicted = report(problem, placement, outcome)
    return render(
        "report.html",
        title=framing.title,
        made_at=framing.made_at,
        spec=problem.spec,
        placement=placement,
        picture=placement_picture(placement, problem.spec, problem.profiles, framing.labels),
        predicted=predicted,
        measured=None if records is None else measured(records),
        rows=model_rows(problem, predicted, outcome, records),
        span_s=problem.workload.span_s,
        latency=latencies(problem, outcome, records),
        timelines=timelines(schedules(problem, placement, outcome, framing.labels, records), framing.part),
        plan=framing.plan,
    )


def latencies(problem: Problem, outcome: Outcome, records: Sequence[Record] | None) -> LatencyPicture | None:
    """Of what was answered, as predicted and, with records, as measured."""
    latency_s = {"predicted": (outcome.finish_s - problem.workload.arrival_s)[outcome.admitted]}
    if records is not None:
        latency_s["measured"] = np.array([own.latency_s for own in records if own.outcome in OUTCOMES[:2]])
    return latency_picture(latency_s, max(problem.num_requests, len(records or ())))


def schedules(
    problem: Problem, placement: Placement, outcome: Outcome, labels: Labels, records: Sequence[Record] | None
) -> dict[str, Schedule]:
    """Who ran where when, as predicted and, with records, as measured."""
    found = {"predicted": predicted_schedule(problem, placement, outcome, labels.groups)}
    if records is not None:
        found["measured"] = measured_schedule(problem.spec.names, records, labels.groups)
    return found


def check_models(problem: Problem, records: Sequence[Record]) -> None:
    known = set(problem.spec.names)
    for number, record in enumerate(records):
        if record.model not in known:
            raise InvalidWorkload(f"record {number}: unknown model {record.model!r}")


def timelines(found: Mapping[str, Schedule], part: Part) -> dict[str, TimelinePicture]:
    """Timelines of the same part of the time: what is chosen for the first one holds for the others."""
    first = next(iter(found.values()))
    cut = cut_of(first, part.begin_s, part.length_s)
    if cut.is_whole:
        return {label: timeline_picture(own, cut_of(own)) for label, own in found.items()}
    length_s = cut.end_s - cut.begin_s
    others = {label: cut_of(own, cut.begin_s, length_s) for label, own in found.items() if own is not first}
    return {label: timeline_picture(own, others.get(label, cut)) for label, own in found.items()}


def measured(records: Sequence[Record]) -> Measured:
    """Records in sum."""
    num_outcomes = {kind: sum(record.outcome == kind for record in records) for kind in OUTCOMES}
    latency_s = np.array([record.latency_s for record in records if record.outcome == SERVED], dtype=np.float64)
    attainment = num_outcomes[SERVED] / len(records) if records else None
    return Measured(attainment, num_outcomes, summarize_latency(latency_s))


def model_rows(
    problem: Problem, predicted: Report, outcome: Outcome, records: Sequence[Record] | None
) -> list[ModelRow]:
    """A row per model of the spec."""
    of_model: dict[str, list[Record]] = {name: [] for name in problem.spec.names}
    for record in records or ():
        of_model[record.model].append(record)
    attained: NDArray[np.bool_] = outcome.attained(problem)
    latency_s = outcome.finish_s - problem.workload.arrival_s
    return [
        ModelRow(
            name=name,
            slo_s=float(problem.model_slo_s[index]),
            num_requests=predicted.models[name].num_requests,
            attainment=predicted.models[name].attainment,
            latency_s=summarize_latency(latency_s[attained & np.equal(problem.workload.model, index)]),
            measured=None if records is None else measured(of_model[name]),
        )
        for index, name in enumerate(problem.spec.names)
    ]
