"""Models that may be placed: registered, changed, removed."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from services.core.errors import NotPlaced, StillPlaced, UnknownProfile
from services.core.model import RegisteredModel
from services.core.profile import Profiles
from services.infra.security.paths import confined
from services.infra.store.placements import PlacementStore
from services.infra.store.registry import ModelStore, ProfileStore
from services.planner.changes import deployed_model


class Catalog:
    """Registered models and their profiles."""

    def __init__(
        self, models: ModelStore, profiles: ProfileStore, placements: PlacementStore, models_dir: Path | None = None
    ) -> None:
        self._models = models
        self._profiles = profiles
        self._placements = placements
        self._models_dir = models_dir

    async def models(self) -> dict[str, RegisteredModel]:
        return await self._models.all()

    async def profiles_of(self, models: Iterable[RegisteredModel]) -> Profiles:
        """Raises: UnknownProfile, InvalidProfile; NotPlaced without models."""
        names = {model.profile for model in models}
        if not names:
            raise NotPlaced("no model is registered")
        return await self._profiles.combined(names)

    async def register(self, model: RegisteredModel) -> None:
        """Add a model, or change its SLO, at once where it runs.

        Raises: AlreadyExists; InvalidModel for a checkpoint out of bounds; InvalidProfile for an SLO that its profile
        cannot tell; VersionConflict while a transition is under way that may concern it.
        """
        if self._models_dir is not None and model.source is not None and model.source.checkpoint:
            confined(model.source.checkpoint, self._models_dir)
        deployed = deployed_model(model, await self._known_profiles(model))
        if model.name not in (await self._placements.current()).models:
            await self._models.put(model)
            return
        async with self._placements.lease():
            await self._models.put(model)
            current = await self._placements.current()
            if deployed != current.models.get(model.name):
                await self._placements.publish(replace(current, models={**current.models, model.name: deployed}))

    async def _known_profiles(self, model: RegisteredModel) -> Profiles:
        try:
            return await self._profiles.get(model.profile)
        except UnknownProfile:
            return Profiles({})

    async def remove(self, name: str) -> None:
        """Raises: UnknownModel; StillPlaced while a group holds it; VersionConflict during a transition."""
        async with self._placements.lease():
            current = await self._placements.current()
            holders = [group.name for group in current.groups if name in group.replicas]
            if holders:
                raise StillPlaced(f"model {name!r} is still on {', '.join(holders)}")
            await self._models.remove(name)
            if name in current.models:
                models = {known: deployed for known, deployed in current.models.items() if known != name}
                await self._placements.publish(replace(current, models=models))
