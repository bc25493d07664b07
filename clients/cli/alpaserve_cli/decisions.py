"""`alpaserve decisions`: what the planner decided by itself, and what became of it."""

import json
from typing import Annotated, Any

import typer
from alpaserve.v1 import planner_pb2
from alpaserve_client import PlannerClient

from alpaserve_cli.addresses import DEFAULT_PLANNER, PlannerOption
from alpaserve_cli.connecting import connection
from alpaserve_cli.output import Output, OutputOption, print_json, print_table
from alpaserve_cli.placements import running_document
from alpaserve_cli.wire import enum_name

_HEADER = ("when", "controller", "verdict", "outcome", "reason", "gain", "cost", "margin", "moved")
_FIGURES = ("attainment_stay", "attainment_switch", "gain", "cost", "margin", "standard_error")
_OPTIONAL = (*_FIGURES, "predicted_s", "transition_s")

Decision = planner_pb2.Decision


def decisions(
    limit: Annotated[int, typer.Option("--limit", min=1, help="The newest ones, at most so many.")] = 20,
    watch: Annotated[bool, typer.Option("--watch", help="Go on with every further one, the oldest first.")] = False,
    planner: PlannerOption = DEFAULT_PLANNER,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show what the planner decided by itself: whether to re-place, and why.

    The newest first. With --watch every line is one decision, with --output json a document of its own.
    """
    with PlannerClient(planner, connection()) as client:
        if watch:
            for decision in client.watch_decisions(limit):
                document = decision_document(decision)
                print(json.dumps(document, allow_nan=False) if output is Output.JSON else line(decision), flush=True)
            return
        found = client.decisions(limit)
    if output is Output.JSON:
        print_json(
            {
                "mode": found.mode,
                "controller": found.controller,
                "num_idle_looks": found.num_idle_looks,
                "decisions": list(map(decision_document, found.decisions)),
            }
        )
    else:
        print_decisions(found)


def decision_document(decision: Decision) -> dict[str, Any]:
    """A decision; what it did not come to is null."""
    given, move = fields(decision), decision.move
    return {
        "at": decision.at.ToJsonString(),
        "controller": decision.controller,
        "mode": decision.mode,
        "verdict": verdict_name(decision),
        "outcome": outcome_name(decision),
        "reason": decision.reason,
        "observed_per_s": dict(decision.observed_per_s),
        "expected_per_s": dict(decision.expected_per_s),
        **{name: given.get(name) for name in _OPTIONAL},
        "move": {
            "models_loaded": list(move.models_loaded),
            "models_dropped": list(move.models_dropped),
            "num_loads": move.num_loads,
            "load_bytes": move.load_bytes,
            "groups_formed": move.groups_formed,
            "groups_dissolved": move.groups_dissolved,
        }
        if decision.HasField("move")
        else None,
        "candidate": running_document(decision.candidate) if decision.HasField("candidate") else None,
        "num_simulations": decision.num_simulations,
        "decision_s": decision.decision_s,
        "base_version": decision.base_version,
        "applied_version": decision.applied_version or None,
        "error": decision.error or None,
        "num_idle_looks": decision.num_idle_looks,
    }


def print_decisions(found: planner_pb2.ListDecisionsResponse) -> None:
    """Print who decides, and the table of decisions if there are any."""
    if found.mode == "off":
        print("placements do not follow the traffic; start the planner with ALPASERVE_REPLACE_MODE=advisory or auto")
    else:
        print(f"{found.mode}, by {found.controller}; {found.num_idle_looks} looks without a reason since the last one")
    if found.decisions:
        print_table("Decisions", _HEADER, map(cells, found.decisions))


def cells(decision: Decision) -> tuple[object, ...]:
    given = fields(decision)
    return (
        when(decision),
        decision.controller,
        verdict_name(decision),
        fate(decision),
        decision.reason,
        *(points(given.get(name)) for name in ("gain", "cost", "margin")),
        moved(decision),
    )


def line(decision: Decision) -> str:
    """A decision in one line."""
    told = dict(zip(_HEADER, cells(decision), strict=True))
    figures = [f"{name} {told[name]}" for name in ("gain", "cost", "margin", "moved") if told[name]]
    head = f"{told['when']}  {told['controller']}  {told['verdict']}: {told['outcome']}"
    return "; ".join(part for part in (head, decision.reason, *figures) if part)


def fields(decision: Decision) -> dict[str, Any]:
    """What it came to, by name."""
    return {field.name: value for field, value in decision.ListFields()}


def when(decision: Decision) -> str:
    return decision.at.ToDatetime().strftime("%Y-%m-%d %H:%M:%SZ")


def fate(decision: Decision) -> str:
    """What became of it: of an applied one the version, and how long that took beside what was predicted."""
    if decision.outcome == planner_pb2.DECISION_OUTCOME_APPLIED:
        took = f"{decision.transition_s:.2f} s, predicted {decision.predicted_s:.2f} s"
        return f"version {decision.applied_version} in {took}"
    return f"{outcome_name(decision)}: {decision.error}" if decision.error else outcome_name(decision)


def points(share: float | None) -> str | None:
    """A difference of attainments, in percentage points."""
    return None if share is None else f"{100 * share:+.2f} %"


def moved(decision: Decision) -> str:
    move = decision.move
    if not decision.HasField("move"):
        return ""
    groups = f", {move.groups_formed} groups formed" if move.groups_formed else ""
    return f"{move.num_loads} loads, {move.load_bytes / 1e9:.3g} GB{groups}"


def verdict_name(decision: Decision) -> str:
    return enum_name(planner_pb2.Verdict, decision.verdict).replace("_", " ")


def outcome_name(decision: Decision) -> str:
    return enum_name(planner_pb2.DecisionOutcome, decision.outcome)
