"""What a decision to re-place goes by: what runs, on which devices, and the traffic up to now."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.core.deployment import Deployment
from services.core.errors import NotPlaced
from services.core.placement import Placement
from services.core.spec import Spec
from services.core.steps import StepCosts
from services.infra.store.arrivals import KEPT_S, SUM_S, ArrivalStore
from services.infra.store.placements import PlacementStore
from services.planner.catalog import Catalog
from services.planner.cluster import LiveCluster
from services.planner.controllers.observation import ArrivalCounts, Observation
from services.planner.controllers.setting import Prudence, Setting
from services.planner.settings import PlannerSettings
from services.planner.stewardship import Stewardship

Counts = Mapping[str, NDArray[np.int64]]


@dataclass(frozen=True, slots=True, eq=False)
class Facts:
    """`running` is what `current` holds, on the devices of plans, as all in `setting` and `observation`."""

    current: Deployment
    live: LiveCluster
    running: Placement
    setting: Setting
    observation: Observation


class FactReader:
    """Reads the store."""

    def __init__(
        self,
        settings: PlannerSettings,
        placements: PlacementStore,
        catalog: Catalog,
        stewardship: Stewardship,
        arrivals: ArrivalStore,
    ) -> None:
        self._settings = settings
        self._placements = placements
        self._catalog = catalog
        self._stewardship = stewardship
        self._arrivals = arrivals

    async def read(self, is_due: Callable[[Deployment, LiveCluster], bool]) -> Facts | None:
        """None where there is nothing to decide: nothing runs or arrives, devices are missing, a transition is
        under way, or it is not due for what runs. Raises: UnknownProfile, InvalidProfile, InvalidSpec."""
        current = await self._placements.current()
        if not current.groups or not current.is_settled or await self._placements.is_leased():
            return None
        try:
            live = await self._stewardship.cluster()
        except NotPlaced:
            return None
        running = live.as_planned(current.placement())
        if running is None or not is_due(current, live):
            return None
        models = list((await self._catalog.models()).values())
        if not models:
            return None
        spec = Spec(live.for_planning(), tuple(live.for_model(model.spec()) for model in models))
        observation = await self._observation(spec.names)
        if not observation.num_requests:
            return None
        setting = Setting(
            spec,
            await self._catalog.profiles_of(models),
            horizon_s=self._settings.replace_horizon_s,
            dispatch=current.dispatch,
            prudence=Prudence(
                margin=self._settings.replace_margin,
                rest_s=self._settings.replace_rest_s,
                memory_s=self._settings.replace_memory_s,
            ),
            costs=slowest((await self._stewardship.step_costs(live)).values()),
            most_devices=live.devices_per_node,
        )
        return Facts(current, live, running, setting, observation)

    async def _observation(self, names: tuple[str, ...]) -> Observation:
        """As closely as arrivals are kept, as far back as any are known."""
        history = await self._arrivals.history()
        num_past = max((len(row) for row in history.values()), default=0)
        recent = await self._arrivals.window(min((num_past + 1) * SUM_S, KEPT_S))
        return observed(names, time.time(), recent, history)


def slowest(costs: Iterable[StepCosts]) -> StepCosts:
    """What each kind of step takes where it takes longest."""
    known = tuple(costs)
    return StepCosts(
        load_bytes_per_s=min(own.load_bytes_per_s for own in known),
        form_s=max(own.form_s for own in known),
        switch_s=max(own.switch_s for own in known),
    )


def observed(names: tuple[str, ...], now_s: float, recent: Counts, history: Counts) -> Observation:
    """Of counts (num_buckets,) by model: in seconds, and in buckets of `SUM_S`.

    Silence that began before anything is known says nothing, so recent counts begin with the first arrival unless
    the history goes further back.
    """
    num_past = max((len(row) for row in history.values()), default=0)
    num_recent = max((len(row) for row in recent.values()), default=0)
    if num_past * SUM_S < num_recent:
        begin = min(int(row.nonzero()[0][0]) for row in recent.values() if row.any())
        recent = {name: row[begin:] for name, row in recent.items()}
    silent = np.zeros(num_past, dtype=np.int64)
    past = np.array([history.get(name, silent) for name in names], dtype=np.int64).reshape(len(names), num_past)
    return Observation.of(names, now_s, recent, history=ArrivalCounts(SUM_S, past) if num_past else None)
