"""Places or withdraws one model at a caller's word, and leaves all others where they are."""

import asyncio
from collections.abc import Iterable

from services.core.deployment import Deployment
from services.core.errors import UnknownModel, VersionConflict
from services.core.model import RegisteredModel
from services.core.spec import Spec
from services.infra.store.placements import PlacementStore
from services.planner.catalog import Catalog
from services.planner.policies.joining import Joining, left
from services.planner.stewardship import Stewardship
from services.planner.transitions import Applied


class Residence:
    """One change after the other: callers may ask for several models at once."""

    def __init__(self, stewardship: Stewardship, placements: PlacementStore, catalog: Catalog) -> None:
        self._stewardship = stewardship
        self._placements = placements
        self._catalog = catalog
        self._turn = asyncio.Lock()

    async def place(self, name: str) -> Applied | None:
        """Put a model where memory allows; None if it has its place already.

        Raises: UnknownModel, UnknownProfile, DoesNotFit; what `Stewardship.apply` raises.
        """
        async with self._turn:
            current, models = await self._current(name)
            placement = current.placement()
            held = {model for group in placement.groups for model in group.models}
            joining = await self._joining(models[other] for other in sorted(held | {name}))
            joined = joining.joined(placement, name)
            if joined == placement:
                return None
            return await self._stewardship.apply(joined, f"place {name}", current.version)

    async def withdraw(self, name: str) -> Applied | None:
        """Take a model off every group; None if it is on none. Raises: as `place`."""
        async with self._turn:
            current, _ = await self._current(name)
            placement = current.placement()
            if not placement.hosts(name):
                return None
            return await self._stewardship.apply(left(placement, name), f"withdraw {name}", current.version)

    async def _current(self, name: str) -> tuple[Deployment, dict[str, RegisteredModel]]:
        models = await self._catalog.models()
        if name not in models:
            raise UnknownModel(f"no model {name!r} is registered")
        current = await self._placements.current()
        if not current.is_settled:
            raise VersionConflict("another transition is under way")
        return current, models

    async def _joining(self, models: Iterable[RegisteredModel]) -> Joining:
        models = tuple(models)
        cluster = await self._stewardship.cluster()
        return Joining(
            spec=Spec(cluster.as_numbered(), tuple(model.spec() for model in models)),
            profiles=await self._catalog.profiles_of(models),
            workers=[worker.devices for worker in cluster.workers],
            rates=await self._stewardship.live_rates() or {},
        )
