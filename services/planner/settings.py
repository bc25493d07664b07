"""What a planner is told."""

from importlib.util import find_spec
from typing import Literal, Self

from pydantic import Field, model_validator

from services.infra.settings import CheckpointSettings
from services.infra.store.arrivals import KEPT_S


class PlannerSettings(CheckpointSettings):
    """Environment of `alpaserve-planner`."""

    page_port: int = Field(0, ge=0, le=65535, description="Port of the web page; 0 means none.")
    live_window_s: int = Field(60, ge=1, le=3600, description="Seconds of live arrivals that a plan is made for.")
    time_budget_s: float = Field(10.0, gt=0, description="Seconds that a search may take where the caller names none.")
    heal_every_s: float = Field(
        1.0, gt=0, description="Seconds between looks at whether the placement runs as it should."
    )
    step_timeout_s: float = Field(300.0, gt=0, description="Seconds that one step of a transition may take.")
    ray_address: str = Field("", description="Ray cluster, host:port, that large problems are searched on.")
    ray_from_size: int = Field(
        1_000_000_000, ge=0, description="Models x devices x requests from which a problem is large."
    )
    replace_mode: Literal["off", "advisory", "auto"] = Field(
        "off", description="Whether placements follow the traffic: off, advisory (decide, and tell), or auto."
    )
    controller: Literal["forecast", "drift", "periodic"] = Field(
        "forecast", description="What gives a reason to look for another placement: forecast, drift or periodic."
    )
    replace_every_s: float = Field(
        600.0, gt=0, le=KEPT_S, description="Seconds from one decision to the next, and of traffic it goes by."
    )
    replace_horizon_s: float = Field(
        1_800.0, gt=0, le=86_400, description="Seconds over which a switch must gain more than it costs."
    )
    replace_margin: float = Field(
        0.002, ge=0, lt=1, description="Attainment that a switch must gain beyond its cost and the prediction's error."
    )
    replace_rest_s: float = Field(0.0, ge=0, le=86_400, description="Seconds after a switch without another one.")
    replace_memory_s: float = Field(
        3_600.0, ge=0, le=604_800, description="Seconds for which taking back a switch must gain more than it did."
    )

    @model_validator(mode="after")
    def _can_forecast(self) -> Self:
        forecasts = self.replace_mode != "off" and self.controller == "forecast"
        if forecasts and find_spec("statsforecast") is None:
            raise ValueError(
                "ALPASERVE_CONTROLLER is forecast, which needs statsforecast: install alpaserve[forecasts]"
            )
        return self
