"""How settings are read from the environment."""

from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator
from pydantic_settings import SettingsConfigDict

VARIABLES = SettingsConfigDict(env_prefix="ALPASERVE_", extra="ignore", frozen=True)
# An empty variable is none.
OptionalPath = Annotated[Path | None, BeforeValidator(lambda given: given or None)]
