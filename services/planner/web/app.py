"""The page's addresses."""

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route

from services.core.errors import AlpaServeError
from services.infra.security.tokens import Gatekeeper
from services.infra.store.connection import STORE_ERRORS
from services.planner.web.guarding import Guard
from services.planner.web.timeline_views import TimelineViews
from services.planner.web.views import Views, refused, script, style, unavailable
from services.planner.web.what_if_views import WhatIfViews


def make_app(views: Views, what_if: WhatIfViews, timeline: TimelineViews, gatekeeper: Gatekeeper | None) -> Starlette:
    """All of it behind the guard."""
    outages = (*STORE_ERRORS, ConnectionError, TimeoutError)
    return Starlette(
        routes=[
            Route("/", views.overview),
            Route("/live/tiles", views.tiles),
            Route("/live/placement", views.placement),
            Route("/live/tables", views.tables),
            Route("/history", views.history),
            Route("/models/{name:path}", views.model),
            Route("/what-if", what_if.form),
            Route("/what-if", what_if.ask, methods=["POST"]),
            Route("/what-if/{number}", what_if.one),
            Route("/what-if/{number}/progress", what_if.progress),
            Route("/what-if/{number}/cancel", what_if.cancel, methods=["POST"]),
            Route("/timeline", timeline.show),
            Route("/timeline/drawn", timeline.draw, methods=["POST"]),
            Route("/timeline/sent", timeline.send, methods=["POST"]),
            Route("/style.css", style),
            Route("/page.js", script),
        ],
        middleware=[Middleware(Guard, gatekeeper)],
        exception_handlers={AlpaServeError: refused, **dict.fromkeys(outages, unavailable)},
    )
