"""A grid of plans as a table: columns are one axis, rows the others together, every cell a share with its shade."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

NUM_SHADES = 6
# Whose cells are shaded alike: what is attained beyond three quarters differs most where it matters.
_STEPS = (0.5, 0.75, 0.9, 0.97, 0.99)

Place = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Axis:
    """Values of one thing that varies; `unit` comes before each."""

    label: str
    unit: str
    values: tuple[object, ...]

    def named(self, value: object) -> str:
        return f"{self.unit}{value:g}" if isinstance(value, int | float) else f"{self.unit}{value}"


@dataclass(frozen=True, slots=True)
class HeatCell:
    """None where it is not known yet; `bound` is what no plan exceeds."""

    attainment: float | None
    bound: float | None
    shade: int


@dataclass(frozen=True, slots=True)
class HeatMap:
    across: str
    down: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[HeatCell, ...]], ...]


def heat_map(axes: Sequence[Axis], cells: Mapping[Place, tuple[float, float | None]]) -> HeatMap:
    """Lay out cells by their places, a value for each of `axes`; the longest axis goes across, policies never do."""
    chosen = max(range(len(axes)), key=lambda n: (len(axes[n].values) if axes[n].unit else 0, -n))
    others = [n for n in range(len(axes)) if n != chosen]
    telling = [n for n in others if len(axes[n].values) > 1] or others[:1]
    rows = []
    for values in product(*(axes[n].values for n in others)):
        place: list[object] = [None] * len(axes)
        for n, value in zip(others, values, strict=True):
            place[n] = value
        label = " · ".join(axes[n].named(place[n]) for n in telling)
        row = []
        for value in axes[chosen].values:
            place[chosen] = value
            row.append(_cell(cells.get(tuple(place))))
        rows.append((label, tuple(row)))
    across = axes[chosen]
    return HeatMap(
        across.label,
        ", ".join(axes[n].label for n in telling),
        tuple(across.named(value) for value in across.values),
        tuple(rows),
    )


def _cell(found: tuple[float, float | None] | None) -> HeatCell:
    if found is None:
        return HeatCell(None, None, 0)
    attainment, bound = found
    return HeatCell(attainment, bound, sum(attainment >= step for step in _STEPS))
