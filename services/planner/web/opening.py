"""The page as a whole: its parts, its server, and what goes on beside them."""

import asyncio

from services.infra.store.decisions import DecisionStore
from services.planner.planning import Planning
from services.planner.posing import Posing
from services.planner.settings import PlannerSettings
from services.planner.stewardship import Stewardship
from services.planner.web.app import make_app
from services.planner.web.explorations import Explorations
from services.planner.web.running import RunningReader
from services.planner.web.serving import PageServer
from services.planner.web.timeline_views import TimelineViews
from services.planner.web.views import Views
from services.planner.web.what_if_views import WhatIfViews


class Page:
    """What the planner knows, for people."""

    def __init__(
        self,
        settings: PlannerSettings,
        reader: RunningReader,
        planning: Planning,
        posing: Posing,
        stewardship: Stewardship,
        decisions: DecisionStore,
    ) -> None:
        """Raises: OSError for a port that cannot be had; InvalidArgument for a file of tokens that is none."""
        self._explorations = Explorations(planning.explore)
        app = make_app(
            Views(reader, posing, stewardship, decisions),
            WhatIfViews(reader, self._explorations),
            TimelineViews(reader, posing, stewardship),
            settings.gatekeeper(),
        )
        self._server = PageServer(settings, settings.page_port, app)

    async def serve(self) -> None:
        """Answer, and plan what is asked, until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._server.serve())
            group.create_task(self._explorations.work())
