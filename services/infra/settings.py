"""Configuration of a service: environment variables ALPASERVE_…, listed by --help."""

import sys
from typing import Any, Self, TypeVar

from pydantic import Field, SecretStr, ValidationError, model_validator

from services.infra.security.settings import SecuritySettings
from services.infra.store.settings import StoreSettings
from services.infra.tracing_settings import TracingSettings
from services.infra.variables import VARIABLES, OptionalPath


class ServiceSettings(SecuritySettings, StoreSettings, TracingSettings):
    """What every service is told."""

    model_config = VARIABLES

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(0, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    advertise_host: str = Field("", description="Name under which other hosts reach this one; empty means host.")
    metrics_port: int = Field(0, ge=0, le=65535, description="Port of the Prometheus metrics; 0 means none.")
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$", description="debug, info, warning or error.")
    drain_s: float = Field(30.0, ge=0, description="Seconds that admitted work has to finish after SIGTERM.")
    drain_notice_s: float = Field(
        0.0,
        ge=0,
        description="Seconds before that in which it goes on, reported as unhealthy, so that balancers notice.",
    )
    max_message_bytes: int = Field(64 * 2**20, ge=1024, description="Largest gRPC message taken or sent.")
    max_connections: int = Field(12_000, ge=1, description="Connections held at most; further ones are closed.")
    max_streams: int = Field(1_000, ge=1, description="Calls of one connection at once; further ones wait there.")
    max_idle_s: float = Field(1_800.0, gt=0, description="Seconds until a connection without calls is closed.")

    @property
    def reachable_host(self) -> str:
        return self.advertise_host or self.host


class CheckpointSettings(ServiceSettings):
    """What those services are told that hear of checkpoints."""

    models_dir: OptionalPath = Field(
        None, description="The directory that checkpoints must be within, links followed; needed with a tokens_file."
    )

    @model_validator(mode="after")
    def check_models_dir(self) -> Self:
        """Who may register models may not read the whole host by that."""
        if self.tokens_file is not None and self.models_dir is None:
            raise ValueError("ALPASERVE_TOKENS_FILE needs ALPASERVE_MODELS_DIR")
        return self


SettingsT = TypeVar("SettingsT", bound=ServiceSettings)


def load_settings(kind: type[SettingsT], summary: str, argv: list[str] | None = None) -> SettingsT:
    """Read a service's settings, or print its help or its errors and exit."""
    arguments = sys.argv[1:] if argv is None else argv
    if any(argument in ("-h", "--help") for argument in arguments):
        sys.stdout.write(describe(kind, summary))
        raise SystemExit(0)
    if arguments:
        sys.stderr.write(f"unexpected argument {arguments[0]!r}; see --help\n")
        raise SystemExit(2)
    try:
        return kind()
    except ValidationError as error:
        for problem in error.errors():
            field = str(problem["loc"][0]) if problem["loc"] else ""
            is_told = field and problem["type"] != "missing" and kind.model_fields[field].annotation is not SecretStr
            given = f" (got {problem['input']!r})" if is_told else ""
            sys.stderr.write(f"{variable(field) if field else 'settings'}: {problem['msg']}{given}\n")
        raise SystemExit(2) from None


def variable(field: str) -> str:
    return f"ALPASERVE_{field.upper()}"


def plain(default: Any) -> Any:
    """A default is no secret."""
    return default.get_secret_value() if isinstance(default, SecretStr) else default


def describe(kind: type[ServiceSettings], summary: str) -> str:
    """The help text: every variable, its meaning and its default."""
    lines = [summary, "", "Configured by environment:"]
    for name, field in kind.model_fields.items():
        default: Any = "required" if field.is_required() else f"default {plain(field.default)!r}"
        lines.append(f"  {variable(name)}  ({default})")
        lines.append(f"      {field.description}")
    return "\n".join(lines) + "\n"
