"""The what-if page: a form, and what came of those that were sent."""

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import Response

from services.core.errors import InvalidArgument, UnknownModel
from services.planner.policies.plan import POLICIES
from services.planner.web.explorations import Exploration, Explorations
from services.planner.web.forms import Form, position
from services.planner.web.running import RunningReader
from services.planner.web.views import page, redirect
from services.planner.web.what_if_form import MOST_CELLS, MOST_SECONDS, defaults, read_question


class WhatIfViews:
    """Asks the planner's own search."""

    def __init__(self, reader: RunningReader, explorations: Explorations) -> None:
        self._reader = reader
        self._explorations = explorations

    async def form(self, request: Request) -> Response:
        texts = defaults((await self._reader.running()).num_devices)
        return await self._page(Form(texts), [texts["policy"]])

    async def ask(self, request: Request) -> Response:
        async with request.form(max_files=0, max_fields=50) as sent:
            texts, policies = texts_of(sent), [str(value) for value in sent.getlist("policy")]
        running = await self._reader.running()
        form, question = read_question(texts, policies, max(running.num_devices, 1))
        if not running.models:
            form.faults["policy"] = "no model is registered, so there is nothing to plan"
        if not running.workers:
            form.faults["devices"] = "no worker is alive, whose memory a plan would go by"
        if not form.faults:
            try:
                return redirect(f"/what-if/{self._explorations.ask(question).number}")
            except InvalidArgument as error:
                form.faults["policy"] = str(error)
        return await self._page(form, policies, 422)

    async def one(self, request: Request) -> Response:
        own = self._found(request)
        return page("what_if_one.html", here="/what-if", own=own)

    async def progress(self, request: Request) -> Response:
        return page("what_if_progress.html", own=self._found(request))

    async def cancel(self, request: Request) -> Response:
        own = self._found(request)
        self._explorations.cancel(own.number)
        return redirect(f"/what-if/{own.number}")

    def _found(self, request: Request) -> Exploration:
        """Raises: UnknownModel, the error of what is not there."""
        number = request.path_params["number"]
        found = self._explorations.get(position(number))
        if found is None:
            raise UnknownModel(f"what-if {number!r} is not kept any more")
        return found

    async def _page(self, form: Form, policies: list[str], status: int = 200) -> Response:
        return page(
            "what_if.html",
            status,
            here="/what-if",
            form=form,
            policies=policies,
            every_policy=list(POLICIES),
            explorations=self._explorations.newest(),
            most_cells=MOST_CELLS,
            most_seconds=MOST_SECONDS,
        )


def texts_of(sent: FormData) -> dict[str, str]:
    return {name: value for name, value in sent.items() if isinstance(value, str)}
