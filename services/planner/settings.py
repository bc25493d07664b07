"""What a planner is told."""

from pydantic import Field

from services.infra.settings import ServiceSettings


class PlannerSettings(ServiceSettings):
    """Environment of `alpaserve-planner`."""

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
