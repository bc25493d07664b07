"""Pictures of a grid: lines along one axis, a heat map of two, small multiples of more."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from alpaserve_cli.failures import CommandError
from services.core.errors import InvalidArgument
from services.planner.policies.variations import Cell

TARGET_PERCENT = 99.0
_LABELS = {
    "num_devices": "Devices",
    "rate_scale": "Rate, × the workload's",
    "cv_scale": "CV of the gaps, × the workload's",
    "slo_scale": "SLO, × single-device latency",
}
_SHORT = {"num_devices": "devices", "rate_scale": "rate ×", "cv_scale": "CV ×", "slo_scale": "SLO ×"}
_COLOURS = ("#1f5fa8", "#d1662b", "#2f8f5b", "#8c4fa0", "#b3872a", "#4a4a4a", "#c23b5a", "#3aa3b5")
_MARKERS = "osD^vP*X"
_DPI = 160


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture of several: the cells of one policy, or of all where lines tell them apart."""

    title: str
    cells: tuple[Cell, ...]


def check_plottable() -> None:
    """Raises: CommandError without matplotlib."""
    if find_spec("matplotlib") is None:
        raise CommandError("--png needs the package matplotlib: install alpaserve[plots]")


def plot(cells: Sequence[Cell], path: Path) -> None:
    """Draw the grid to a PNG file. Raises: InvalidArgument for a path that cannot be written."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    axes = varying(cells)
    panels = panels_of(cells, axes)
    num_columns = min(len(panels), 3)
    num_rows = -(-len(panels) // num_columns)
    is_map = len(axes) > 1
    width, height = panel_size(cells, axes)
    figure = Figure(figsize=(num_columns * width + (0.9 if is_map else 0.0), num_rows * height), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(num_rows, num_columns, squeeze=False)
    drawn: Any = None
    for index, panel in enumerate(panels):
        chart = grid[index // num_columns][index % num_columns]
        chart.set_title(panel.title, fontsize=10, loc="left")
        if is_map:
            drawn = draw_map(chart, panel.cells, axes)
            chart.set_xlabel(_LABELS[axes[0]] if index + num_columns >= len(panels) else "")
            chart.set_ylabel(_LABELS[axes[1]] if index % num_columns == 0 else "")
        else:
            draw_lines(chart, panel.cells, axes)
    for index in range(len(panels), num_rows * num_columns):
        grid[index // num_columns][index % num_columns].set_axis_off()
    if drawn is not None:
        bar = figure.colorbar(drawn, ax=grid.ravel().tolist(), shrink=0.9, aspect=30)
        bar.set_label(f"SLO attainment, %\n(bold: {TARGET_PERCENT:g} or more)")
        bar.outline.set_visible(False)
    try:
        figure.savefig(path, dpi=_DPI, format="png")
    except OSError as error:
        raise InvalidArgument(f"{path}: {error.strerror or error}") from None


def varying(cells: Sequence[Cell]) -> list[str]:
    """The axes with more than one value, those with most values first; the devices if there is none."""
    num_values = {axis: len({value(cell, axis) for cell in cells}) for axis in _LABELS}
    several = sorted((axis for axis in _LABELS if num_values[axis] > 1), key=lambda axis: -num_values[axis])
    return several or ["num_devices"]


def value(cell: Cell, axis: str) -> float:
    """Where a cell lies on an axis; 0 where its SLOs are its own."""
    return float(getattr(cell.scenario, axis) or 0)


def panels_of(cells: Sequence[Cell], axes: Sequence[str]) -> list[Panel]:
    """One of all cells for lines, else one per policy and value of the axes beyond the second."""
    if len(axes) < 2:
        return [Panel("", tuple(cells))]
    has_policies = len({cell.policy for cell in cells}) > 1
    panels: dict[str, list[Cell]] = {}
    for cell in cells:
        parts = [cell.policy] if has_policies else []
        parts += [f"{_SHORT[axis]} {value(cell, axis):g}" for axis in axes[2:]]
        panels.setdefault(", ".join(parts), []).append(cell)
    return [Panel(title, tuple(own)) for title, own in panels.items()]


def panel_size(cells: Sequence[Cell], axes: Sequence[str]) -> tuple[float, float]:
    """Width and height in inches, so that what is written in a heat map's cells fits."""
    if len(axes) < 2:
        return 6.4, 4.0
    columns, rows = (len({value(cell, axis) for cell in cells}) for axis in axes[:2])
    return max(1.3 + 0.62 * columns, 3.0), max(1.1 + 0.42 * rows, 2.4)


def draw_lines(chart: Any, cells: Sequence[Cell], axes: Sequence[str]) -> None:
    """A line per policy over the one axis that varies."""
    (axis,) = axes
    policies = list(dict.fromkeys(cell.policy for cell in cells))
    points = sorted({value(cell, axis) for cell in cells})
    chart.axhline(TARGET_PERCENT, color="#999999", linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    for index, policy in enumerate(policies):
        own = sorted((cell for cell in cells if cell.policy == policy), key=lambda cell: value(cell, axis))
        chart.plot(
            [value(cell, axis) for cell in own],
            [100 * cell.attainment for cell in own],
            color=_COLOURS[index % len(_COLOURS)],
            marker=_MARKERS[index % len(_MARKERS)],
            # Wider below, so that lines which coincide are all seen.
            markersize=6 + 1.5 * min(index, 3),
            markeredgecolor="white",
            markeredgewidth=0.8,
            linewidth=1.8 + 0.9 * min(index, 3),
            label=policy,
            clip_on=False,
            # The first on top: it is what the others are compared with.
            zorder=3 + len(policies) - index,
        )
    if len(points) > 1 and points[-1] / points[0] >= 8:
        chart.set_xscale("log", base=2)
    chart.set_xticks(points, [f"{point:g}" for point in points])
    chart.minorticks_off()
    style(chart, axis, cells)
    if len(policies) > 1:
        chart.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0)
    else:
        chart.set_title(policies[0], fontsize=10, loc="left")


def style(chart: Any, axis: str, cells: Sequence[Cell]) -> None:
    """Labels with units, a light grid, and room for the target's name."""
    lowest = min(100 * cell.attainment for cell in cells)
    floor = 0.0 if lowest < 50 else 10 * ((lowest - 4) // 10)
    chart.set_ylim(floor, 100 + 0.02 * (100 - floor))
    chart.set_xlabel(_LABELS[axis])
    chart.set_ylabel("SLO attainment, %")
    chart.spines[["top", "right"]].set_visible(False)
    chart.grid(axis="y", color="#e6e6e6", linewidth=0.8)
    chart.set_axisbelow(True)
    chart.annotate(
        f"{TARGET_PERCENT:g} %",
        (0.0, TARGET_PERCENT),
        xycoords=("axes fraction", "data"),
        xytext=(4, -3),
        textcoords="offset points",
        va="top",
        fontsize=8,
        color="#777777",
    )


def draw_map(chart: Any, cells: Sequence[Cell], axes: Sequence[str]) -> Any:
    """Attainment by colour and in figures, the first axis across and the second up."""
    import numpy as np

    across, up = axes[:2]
    columns = sorted({value(cell, across) for cell in cells})
    rows = sorted({value(cell, up) for cell in cells})
    shares = np.full((len(rows), len(columns)), np.nan)
    for cell in cells:
        shares[rows.index(value(cell, up)), columns.index(value(cell, across))] = 100 * cell.attainment
    drawn = chart.imshow(shares, cmap="viridis", vmin=0, vmax=100, origin="lower", aspect="auto")
    for (row, column), share in np.ndenumerate(shares):
        is_attained = share >= TARGET_PERCENT
        chart.text(
            column,
            row,
            figure_text(share),
            ha="center",
            va="center",
            fontsize=8.5,
            fontweight="bold" if is_attained else "normal",
            color="white" if share < 65 else "black",
        )
    chart.set_xticks(range(len(columns)), [f"{column:g}" for column in columns])
    chart.set_yticks(range(len(rows)), [f"{row:g}" for row in rows])
    chart.tick_params(length=0)
    chart.spines[:].set_visible(False)
    return drawn


def figure_text(share: float) -> str:
    """Rounded down where it matters: 99.96 is not 100."""
    return "100" if share == 100 else f"{int(share * 10) / 10:.1f}"
