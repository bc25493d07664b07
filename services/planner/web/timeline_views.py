"""The timeline page: the running placement's stages under a workload, request by request."""

import asyncio

from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import Response

from services.core.errors import AlpaServeError
from services.planner.posing import Posing
from services.planner.stewardship import Stewardship
from services.planner.web.forms import Form, position
from services.planner.web.running import RunningReader
from services.planner.web.timelines import (
    MOST_BYTES,
    KeptWorkload,
    KeptWorkloads,
    Simulated,
    Zoom,
    read_drawing,
    read_zoom,
    sent_workload,
    simulated,
)
from services.planner.web.views import page, redirect
from services.planner.web.what_if_views import texts_of

_AT_FIRST = {"rate": "10", "cv": "2", "duration": "60", "seed": "0"}


class TimelineViews:
    """Simulates; a workload is kept, so that it can be looked at more closely."""

    def __init__(self, reader: RunningReader, posing: Posing, stewardship: Stewardship) -> None:
        self._reader = reader
        self._posing = posing
        self._stewardship = stewardship
        self._kept = KeptWorkloads()
        self._simulating = asyncio.Lock()

    async def show(self, request: Request) -> Response:
        zoom_form, zoom = read_zoom(request.query_params)
        number = request.query_params.get("workload", "")
        kept = self._kept.get(position(number))
        note = "" if kept or not number else "That workload is not kept any more; these are the live arrivals."
        return await self._page(kept, zoom_form, zoom, note=note)

    async def draw(self, request: Request) -> Response:
        async with request.form(max_files=0, max_fields=20) as sent:
            form, drawing = read_drawing(texts_of(sent))
        models = list((await self._reader.running()).models)
        if not models:
            form.faults["rate"] = "no model is registered"
        if form.faults:
            return await self._page(None, Form({}), Zoom(), drawing=form, status=422)
        label = f"{drawing.rate_per_s:g} a second of all models alike, CV {drawing.cv:g}, seed {drawing.seed}"
        return redirect(f"/timeline?workload={self._kept.keep(drawing.draw(models), label).number}")

    async def send(self, request: Request) -> Response:
        form = Form({})
        async with request.form(max_files=1, max_fields=5, max_part_size=MOST_BYTES) as sent:
            file = sent.get("file")
            content = await file.read(MOST_BYTES + 1) if isinstance(file, UploadFile) else b""
            name = (file.filename or "a file") if isinstance(file, UploadFile) else ""
        try:
            workload = (await asyncio.to_thread(sent_workload, content)).aligned(
                list((await self._reader.running()).models)
            )
        except AlpaServeError as error:
            form.faults["file"] = str(error) if content else "choose a file first"
            return await self._page(None, Form({}), Zoom(), sending=form, status=422)
        return redirect(f"/timeline?workload={self._kept.keep(workload, name).number}")

    async def _page(
        self,
        kept: KeptWorkload | None,
        zoom_form: Form,
        zoom: Zoom,
        *,
        note: str = "",
        drawing: Form | None = None,
        sending: Form | None = None,
        status: int = 200,
    ) -> Response:
        found: Simulated | None = None
        fault = ""
        try:
            kept, found = await self._simulated(kept, zoom)
        except AlpaServeError as error:
            fault = str(error)
        # A large picture takes a while to write.
        return await asyncio.to_thread(
            page,
            "timeline.html",
            status,
            here="/timeline",
            kept=kept,
            found=found,
            fault=fault,
            note=note,
            zoom=zoom_form,
            drawing=drawing or Form(_AT_FIRST),
            sending=sending or Form({}),
        )

    async def _simulated(self, kept: KeptWorkload | None, zoom: Zoom) -> tuple[KeptWorkload, Simulated]:
        """Raises: what stands in the way: no worker, no model, nothing placed."""
        deployment = (await self._reader.running()).deployment
        cluster = (await self._stewardship.cluster()).as_numbered()
        problem = await self._posing.registered(cluster, kept.workload if kept else None)
        if kept is None:
            kept = self._kept.keep(problem.workload, "the live arrivals of the last minute", is_live=True)
        names = [group.name for group in deployment.groups]
        async with self._simulating:
            return kept, await asyncio.to_thread(simulated, problem, deployment.placement(), names, zoom)
