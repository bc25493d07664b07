"""The answers of the page: read, call, render."""

import asyncio
from collections.abc import Mapping
from time import monotonic
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from services.core.errors import AlpaServeError, UnknownModel
from services.core.placement import Placement
from services.core.problem import Problem
from services.infra.store.decisions import DecisionStore
from services.pages.history import instant, version_rows
from services.pages.palette import paints
from services.pages.rendering import render, source
from services.pages.sparkline import sparkline
from services.planner.policies.alternatives import Alternatives, alternatives
from services.planner.posing import Posing
from services.planner.status import WINDOW_S
from services.planner.stewardship import Stewardship
from services.planner.web.forms import position
from services.planner.web.running import Running, RunningReader

VERSIONS_PER_PAGE, NUM_DECISIONS = 10, 20
# How long the alternatives of a model may be simulated.
_WHY_S = 4.0


def page(template: str, code: int = 200, **context: Any) -> HTMLResponse:
    return HTMLResponse(render(template, **context), code)


def hrefs(models: Mapping[str, object]) -> dict[str, str]:
    """Where each model is explained."""
    return {name: f"/models/{quote(name, safe='')}" for name in models}


class Views:
    """What runs, and why."""

    def __init__(
        self, reader: RunningReader, posing: Posing, stewardship: Stewardship, decisions: DecisionStore
    ) -> None:
        self._reader = reader
        self._posing = posing
        self._stewardship = stewardship
        self._decisions = decisions
        # Simulations of one reader at a time: the planner has plans to make.
        self._simulating = asyncio.Lock()

    async def overview(self, request: Request) -> Response:
        return page("overview.html", here="/", **(await self._live() | await self._placed()))

    async def tiles(self, request: Request) -> Response:
        return page("tiles.html", **await self._live())

    async def tables(self, request: Request) -> Response:
        return page("tables.html", **await self._live())

    async def placement(self, request: Request) -> Response:
        return page("placement.html", **await self._placed())

    async def _live(self) -> dict[str, Any]:
        figures, running = await self._reader.figures(), await self._reader.running()
        status = figures.status
        names = dict.fromkeys([*running.models, *(model.name for model in status.models)])
        return {
            "figures": figures,
            "status": status,
            "running": running,
            "sparklines": {name: sparkline(row.tolist()) for name, row in figures.arrivals.items()},
            "legend": paints(names),
            "hrefs": hrefs(running.models),
            "window_s": WINDOW_S,
            "is_changing": await self._reader.is_changing(),
        }

    async def _placed(self) -> dict[str, Any]:
        running = await self._reader.running()
        created = instant(running.deployment.created_at_s) if running.deployment.version else ""
        links = hrefs(running.models)
        return {"running": running, "picture": running.picture(), "created": created, "hrefs": links}

    async def history(self, request: Request) -> Response:
        current = (await self._reader.running()).deployment.version
        newest = min(position(request.query_params.get("before", "")) or current, current)
        rows = version_rows(await self._reader.versions(newest, VERSIONS_PER_PAGE))
        older = newest - VERSIONS_PER_PAGE
        decisions = await self._decisions.newest(NUM_DECISIONS)
        by_version = {one.applied_version: one for one in decisions if one.applied_version}
        return page(
            "history.html",
            here="/history",
            current=current,
            rows=rows,
            older=older if older > 0 else None,
            decisions=decisions,
            by_version=by_version,
            instant=instant,
        )

    async def model(self, request: Request) -> Response:
        name = request.path_params["name"]
        running = await self._reader.running()
        if name not in running.models:
            raise UnknownModel(f"no model {name!r} is registered")
        found, fault, span_s, num_requests = None, "", 0.0, 0
        try:
            problem, placement = await self.problem(running), running.deployment.placement()
            span_s, num_requests = problem.workload.span_s, problem.num_requests
            found = await self._alternatives(problem, placement, name)
        except AlpaServeError as error:
            fault = str(error)
        return page(
            "model.html",
            here="/",
            model=running.models[name],
            groups=[group for group in running.deployment.groups if name in group.replicas],
            every=running.deployment.groups,
            found=found,
            fault=fault,
            span_s=span_s,
            num_requests=num_requests,
            paint=paints(running.models)[name],
        )

    async def problem(self, running: Running) -> Problem:
        """The running models under the live arrivals. Raises: what `Posing.registered` raises."""
        return await self._posing.registered((await self._stewardship.cluster()).as_numbered())

    async def _alternatives(self, problem: Problem, placement: Placement, name: str) -> Alternatives:
        async with self._simulating:
            until_s = monotonic() + _WHY_S
            return await asyncio.to_thread(alternatives, problem, placement, name, lambda: monotonic() > until_s)


async def style(request: Request) -> Response:
    return Response(source("style.css"), media_type="text/css")


async def script(request: Request) -> Response:
    return Response(source("page.js"), media_type="text/javascript")


async def refused(request: Request, error: Exception) -> Response:
    """What a caller asked wrongly for."""
    status = 404 if isinstance(error, UnknownModel) else 400
    return page("fault.html", status, here="", what=str(error))


async def unavailable(request: Request, error: Exception) -> Response:
    return page("fault.html", 503, here="", what="Redis cannot be reached; the page comes back with it.")


def redirect(to: str) -> Response:
    """To where the answer to a form can be looked at, and looked at again."""
    return RedirectResponse(to, 303)
