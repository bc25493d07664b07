"""What a router is told."""

from pydantic import Field

from services.infra.settings import ServiceSettings


class RouterSettings(ServiceSettings):
    """Environment of `alpaserve-router`."""

    router_name: str = Field("", description="Name of this router, unique in the cluster; empty makes one.")
    max_in_flight: int = Field(10_000, ge=1, description="Requests that this router holds at most.")
