"""The groups that serve at an instant of a simulated re-placement, and which of them hold what.

A group that stays, with its devices and config, keeps its stage clocks and requests in flight. Where switching is
free, the stages of a group that comes start when their devices are through with the work of the groups that go.
Where it takes steps, groups that share devices meanwhile serve as if each had them alone, as emulated devices do.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from services.core.deployment import DeployedGroup, Deployment
from services.core.kernel import Layout
from services.core.phasing import RATES_OVER_S, plan_transition
from services.core.placement import Group, Placement
from services.core.problem import Problem
from services.core.profile import ParallelConfig
from services.core.steps import Step, StepCosts, Switch, step_times, walk

# What makes a group the same one in two windows.
Seat = tuple[ParallelConfig, tuple[int, ...]]


def seat_of(group: Group) -> Seat:
    return group.config, group.devices


@dataclass(slots=True, eq=False)
class Lineup:
    """The groups that serve now with their models, in the order that decides ties, on the flat clocks `free_at` of
    all `seats`. `costs` None: switching is free. Models that are `down` come back in the same transition."""

    problem: Problem
    layout: Layout
    seats: Sequence[Seat]
    free_at: NDArray[np.float64]
    costs: StepCosts | None
    held: dict[Seat, tuple[str, ...]] = field(default_factory=dict)
    down: frozenset[str] = frozenset()
    device_free_s: dict[int, float] = field(default_factory=dict)
    index_of: dict[Seat, int] = field(init=False)
    model_of: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        self.index_of = {seat: index for index, seat in enumerate(self.seats)}
        self.model_of = {name: index for index, name in enumerate(self.problem.spec.names)}

    def parts(self, windows: Sequence[tuple[float, Placement]]) -> Iterator[tuple[float, Layout]]:
        """Stretches of time with what holds in them: when each ends, and its layout. The clocks must have come to its
        end before the next one is asked for."""
        over_s = -math.inf
        for number, (begin_s, placement) in enumerate(windows):
            if number == 0 or self.costs is None:
                if number:
                    yield begin_s, self._hosted()
                self._take({seat_of(group): group.models for group in placement.groups})
                continue
            now_s = max(begin_s, over_s)
            yield now_s, self._hosted()
            steps: list[Step] = []
            for switch in self._switches(placement, now_s, self.costs, steps):
                yield switch.at_s, self._hosted()
                self._follow(switch)
            over_s = max(step.end_s for step in steps)
        yield math.inf, self._hosted()

    def _switches(self, target: Placement, now_s: float, costs: StepCosts, steps: list[Step]) -> Iterator[Switch]:
        """The transition to a placement, as the planner would carry it out from here."""
        running = Deployment(
            groups=tuple(
                DeployedGroup.of(str(self.index_of[seat]), Group(*seat, models)) for seat, models in self.held.items()
            )
        )
        memory_bytes = self.problem.spec.cluster.memory_bytes
        transition = plan_transition(running, target, self._heaviest, memory_bytes, self._rates(now_s))
        times = step_times(
            lambda group: costs, self._heaviest, lambda group, model, switched_s: self._last_s(group), costs.switch_s
        )
        return walk(transition, times, now_s, steps)

    def _follow(self, switch: Switch) -> None:
        there, target = switch.standing.num_replicas(switch.is_last), switch.standing.transition.target
        self.down = frozenset(model for model in switch.standing.transition.interrupted if not there[model])
        self._take(
            {
                self.seats[int(at)] if isinstance(at, str) else seat_of(target.groups[at]): models
                for at, models in switch.standing.hosted(switch.is_last)
            }
        )

    def _take(self, held: dict[Seat, tuple[str, ...]]) -> None:
        """Take leave of the groups that were and form the new ones."""
        self._note_devices()
        for seat in held:
            if seat not in self.held:
                self._form(seat)
        self.held = held

    def _form(self, seat: Seat) -> None:
        """Start a group's stages when their devices are free; at once where groups come and go in steps, since their
        leaders know nothing of each other."""
        config, devices = seat
        begin = int(self.layout.first_stage[self.index_of[seat]])
        for k in range(config.inter_op):
            mesh = devices[k * config.intra_op : (k + 1) * config.intra_op] if self.costs is None else ()
            self.free_at[begin + k] = max((self.device_free_s.get(device, 0.0) for device in mesh), default=0.0)

    def _note_devices(self) -> None:
        for seat in self.held:
            config, devices = seat
            begin = int(self.layout.first_stage[self.index_of[seat]])
            for position, device in enumerate(devices):
                free_s = float(self.free_at[begin + position // config.intra_op])
                self.device_free_s[device] = max(free_s, self.device_free_s.get(device, 0.0))

    def _last_s(self, group: DeployedGroup) -> float:
        """When a group is through with what it has admitted."""
        return float(self.free_at[self.layout.first_stage[int(group.name) + 1] - 1])

    def _heaviest(self, model: str, config: ParallelConfig) -> int:
        return self.problem.profiles[self.problem.spec.model(model).profile].at(config).heaviest_stage_bytes

    def _rates(self, now_s: float) -> dict[str, float] | None:
        """Requests per second of each model until now; None without any."""
        first, last = np.searchsorted(self.problem.requests.arrival_s, [now_s - RATES_OVER_S, now_s])
        if last == first:
            return None
        counts = np.bincount(self.problem.requests.model[first:last], minlength=len(self.model_of))
        return {name: float(counts[index]) / RATES_OVER_S for name, index in self.model_of.items()}

    def _hosted(self) -> Layout:
        """The layout of the replicas that are there."""
        hosts: list[list[int]] = [[] for _ in self.model_of]
        for seat, models in self.held.items():
            for name in models:
                hosts[self.model_of[name]].append(self.index_of[seat])
        first_host = np.zeros(len(hosts) + 1, dtype=np.int32)
        np.cumsum([len(row) for row in hosts], out=first_host[1:])
        host = np.array([index for row in hosts for index in row], dtype=np.int32)
        return self.layout._replace(first_host=first_host, host=host)
