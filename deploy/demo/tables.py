"""What the demo prints."""

import numpy as np
from act import Act
from alpaserve.v1 import planner_pb2
from alpaserve_cli.replay import summary
from alpaserve_client import AlpaServeClientError
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scenario import MODELS

MANY_REQUESTS = 100


def show_placement(console: Console, title: str, found: planner_pb2.PlanFound) -> None:
    """A line per group: its devices stage by stage, and its models."""
    console.print(f"[bold]{title}[/bold], predicted attainment {100 * found.attainment:.1f} %")
    for group in found.placement.groups:
        size = group.config.intra_op
        stages = " → ".join(
            str(list(group.devices[stage * size : (stage + 1) * size])) for stage in range(group.config.inter_op)
        )
        models = ", ".join(group.models) or "nothing"
        console.print(f"  {group.config.inter_op} stages of {size} device(s)  {stages:24}  {models}")


def show_act(console: Console, act: Act) -> None:
    """Attainment as measured and as predicted, latency and outcomes, and the two placements."""
    console.print(attainment_table(act))
    figures = summary(act.result)
    outcomes = ", ".join(f"{count} {name}" for name, count in figures["outcomes"].items())
    console.print(f"{outcomes}; {act.num_lost} lost, {act.num_doubled} answered twice")
    if figures["statuses"]:
        console.print("statuses: " + ", ".join(f"{count} {name}" for name, count in figures["statuses"].items()))
    show_placement(console, "First placement", act.first)
    if isinstance(act.replaced, AlpaServeClientError):
        console.print(f"[bold]No second placement[/bold]: {act.replaced.message}")
        return
    found, applied = act.replaced
    show_placement(console, f"Second placement, from {act.switch_s:.1f} s on", found)
    diff = found.diff
    console.print(
        f"  {diff.num_loads} loads ({diff.load_bytes / 1e6:.0f} MB), {diff.num_unloads} unloads, "
        f"{applied.transition_s:.1f} s under traffic; down meanwhile: {', '.join(diff.interrupted) or 'none'}"
    )


def attainment_table(act: Act) -> Table:
    table = Table(title=f"{act.executor} devices: measured beside simulated")
    for column in ("model", "requests", "measured %", "simulated %", "gap", "p50 ms", "p99 ms"):
        table.add_column(column, justify="left" if column == "model" else "right")
    for index, name in enumerate(MODELS):
        add_row(table, act, name, np.equal(act.result.model, index))
    table.add_section()
    add_row(table, act, "all", np.ones(len(act.predicted), dtype=np.bool_))
    return table


def add_row(table: Table, act: Act, name: str, among: NDArray[np.bool_]) -> None:
    attained = act.result.attained & among
    latency_ms = 1e3 * act.result.latency_s[attained]
    measured, simulated = percent(attained[among]), percent(act.predicted[among])
    percentiles = [f"{np.percentile(latency_ms, p):.1f}" if len(latency_ms) else "-" for p in (50, 99)]
    gap = f"{measured - simulated:+.1f}"
    table.add_row(name, str(int(among.sum())), f"{measured:.1f}", f"{simulated:.1f}", gap, *percentiles)


def percent(mask: NDArray[np.bool_]) -> float:
    return 100 * float(mask.mean()) if len(mask) else 100.0


def widest_gap(act: Act) -> float:
    """Percentage points between measured and simulated attainment, over models with many requests."""
    gaps = [0.0]
    for index in range(len(MODELS)):
        among = np.equal(act.result.model, index)
        if among.sum() > MANY_REQUESTS:
            gaps.append(abs(percent(act.result.attained[among]) - percent(act.predicted[among])))
    return max(gaps)
