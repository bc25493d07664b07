"""What a process is told of traces."""

from importlib.util import find_spec

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings

from services.infra.variables import VARIABLES


class TracingSettings(BaseSettings):
    """Off by default."""

    model_config = VARIABLES

    otlp_endpoint: str = Field(
        "",
        pattern=r"^(https?://[^/\s]+)?$",
        description="Collector of traces by OTLP over gRPC, for example http://127.0.0.1:4317; empty means no traces.",
    )
    trace_ratio: float = Field(
        1.0, ge=0, le=1, description="Share of the calls that bring no trace for which one begins."
    )

    @field_validator("otlp_endpoint")
    @classmethod
    def check_tracing(cls, endpoint: str) -> str:
        """What traces need is an extra of its own."""
        if endpoint and find_spec("opentelemetry") is None:
            raise ValueError("traces need the extra alpaserve[tracing]")
        return endpoint
