"""The form of a what-if: what may be varied, how far, and at what cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

from alpaserve.v1 import planner_pb2

from services.core.errors import InvalidArgument
from services.pages.heat_map import Axis
from services.planner.policies.grid_values import counts, scales
from services.planner.policies.plan import DEFAULT_POLICY, POLICIES
from services.planner.web.forms import Form, number, whole

MOST_CELLS, MOST_SECONDS, MOST_DEVICES, MOST_SCALE, MOST_SIMULATIONS = 48, 120, 1_024, 64.0, 1_000_000
DEFAULT_SECONDS = 10.0
_OWN = "as they are"


@dataclass(frozen=True, slots=True)
class Question:
    """A grid to plan; an empty `slo_scales` means the SLOs as they are."""

    policies: tuple[str, ...]
    num_devices: tuple[int, ...]
    rate_scales: tuple[float, ...]
    cv_scales: tuple[float, ...]
    slo_scales: tuple[float, ...]
    time_budget_s: float
    max_simulations: int
    seed: int

    @property
    def num_cells(self) -> int:
        return prod(len(axis.values) for axis in self.axes)

    @property
    def axes(self) -> tuple[Axis, ...]:
        """In the order of a cell's place."""
        return (
            Axis("policy", "", self.policies),
            Axis("devices", "devices ", self.num_devices),
            Axis("rate", "rate ×", self.rate_scales),
            Axis("CV", "CV ×", self.cv_scales),
            Axis("SLO", "SLO ×", self.slo_scales or (_OWN,)),
        )

    def request(self) -> planner_pb2.ExploreRequest:
        plan = planner_pb2.PlanRequest(seed=self.seed, max_simulations=self.max_simulations)
        plan.time_budget.FromNanoseconds(round(self.time_budget_s * 1e9))
        grid = planner_pb2.Grid(
            policies=self.policies,
            num_devices=self.num_devices,
            rate_scales=self.rate_scales,
            cv_scales=self.cv_scales,
            slo_scales=self.slo_scales,
        )
        return planner_pb2.ExploreRequest(plan=plan, grid=grid)

    def place(self, cell: planner_pb2.Cell) -> tuple[object, ...]:
        """Where a cell belongs in the heat map of `axes`."""
        slo = cell.slo_scale if self.slo_scales else _OWN
        return cell.policy, cell.num_devices, cell.rate_scale, cell.cv_scale, slo


def defaults(num_devices: int) -> dict[str, str]:
    """What the form holds at first."""
    devices = dict.fromkeys((max(num_devices // 2, 1), num_devices, num_devices * 2))
    return {
        "policy": DEFAULT_POLICY,
        "devices": ", ".join(map(str, devices)),
        "rate": "0.5, 1, 2",
        "cv": "1",
        "slo": "",
        "seconds": f"{DEFAULT_SECONDS:g}",
        "simulations": "",
        "seed": "0",
    }


def read_question(texts: Mapping[str, str], policies: Sequence[str], num_devices: int) -> tuple[Form, Question]:
    """The question, and the form with its faults if it has any."""
    form = Form(texts)
    unknown = [name for name in policies if name not in POLICIES]
    if unknown or not policies:
        form.faults["policy"] = f"unknown policy {unknown[0]!r}" if unknown else "choose one at least"
    question = Question(
        policies=tuple(dict.fromkeys(policies)) or (DEFAULT_POLICY,),
        num_devices=form.read("devices", _devices, (num_devices,)),
        rate_scales=form.read("rate", lambda text: _scales("the rate", text), (1.0,)),
        cv_scales=form.read("cv", lambda text: _scales("the CV", text), (1.0,)),
        slo_scales=form.read("slo", lambda text: _scales("the SLO scale", text), ()),
        time_budget_s=form.read("seconds", lambda text: number(text, 0.1, MOST_SECONDS), DEFAULT_SECONDS),
        max_simulations=form.read("simulations", lambda text: whole(text, 1, MOST_SIMULATIONS), 0),
        seed=form.read("seed", lambda text: whole(text, 0, 2**32), 0),
    )
    if not form.faults and question.num_cells > MOST_CELLS:
        longest = max(("devices", "rate", "cv", "slo"), key=lambda name: texts.get(name, "").count(","))
        form.faults[longest] = f"{question.num_cells} plans are too many at once; at most {MOST_CELLS}"
    return form, question


def _devices(text: str) -> tuple[int, ...]:
    values = counts("devices", text)
    if max(values) > MOST_DEVICES:
        raise InvalidArgument(f"devices go up to {MOST_DEVICES}, got {max(values)}")
    return values


def _scales(name: str, text: str) -> tuple[float, ...]:
    values = scales(name, text)
    if max(values) > MOST_SCALE:
        raise InvalidArgument(f"{name} goes up to ×{MOST_SCALE:g}, got {max(values):g}")
    return values
