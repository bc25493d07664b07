"""Puts the generated protobuf code into a wheel. An editable install points to it instead, never to a copy."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class GeneratedCode(BuildHookInterface):  # type: ignore[type-arg]  # its config type is the builder's own
    """Runs at every build of this distribution."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "standard":
            build_data["force_include"]["../../protos/gen/alpaserve"] = "alpaserve"
