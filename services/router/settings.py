"""What a router is told."""

from typing import Self

from pydantic import Field, model_validator

from services.infra.settings import ServiceSettings


class RouterSettings(ServiceSettings):
    """Environment of `alpaserve-router`."""

    router_name: str = Field("", description="Name of this router, unique in the cluster; empty makes one.")
    max_in_flight: int = Field(10_000, ge=1, description="Requests that this router holds at most.")
    max_in_flight_bytes: int = Field(2**28, ge=1024, description="Bytes of requests that this router holds at most.")
    receive_timeout_s: float = Field(30.0, gt=0, description="Seconds that a request may take to arrive.")
    shares_port: bool = Field(False, description="Listen beside other routers on the same port of this host.")

    @model_validator(mode="after")
    def check_port(self) -> Self:
        """Two that share a port must know it."""
        if self.shares_port and not self.port:
            raise ValueError("shares_port needs a port, got 0")
        return self
