"""What stands before every answer of the page: who may ask, from where, and what a browser may do with it."""

from urllib.parse import urlsplit

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.core.errors import PermissionDenied, Unauthenticated
from services.infra.security.authorization import note_refusal
from services.infra.security.tokens import Gatekeeper
from services.infra.security.tokens import Scope as TokenScope

log = structlog.get_logger()

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
# Forms are small, but for a workload that somebody sends.
MOST_BYTES = 5 * 2**20
FAILED = PlainTextResponse("internal error; the planner's log says more\n", 500)
CHALLENGE = {"www-authenticate": 'Basic realm="AlpaServe planner: the token is the password", charset="UTF-8"'}


class Guard:
    """Refuses whose token is not good for planning, and forms that another site sends; without a gatekeeper all get
    in."""

    def __init__(self, app: ASGIApp, gatekeeper: Gatekeeper | None) -> None:
        self._app = app
        self._gatekeeper = gatekeeper

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        has_begun = False

        async def send_guarded(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        try:
            refusal = self._refusal(scope, Headers(scope=scope))
            await (refusal or self._app)(scope, receive, send_guarded)
        except Exception:
            log.exception("page_failed", path=scope["path"])
            if not has_begun:
                await FAILED(scope, receive, send_guarded)

    def _refusal(self, scope: Scope, headers: Headers) -> PlainTextResponse | None:
        if scope["method"] not in ("GET", "HEAD"):
            if not is_from_here(headers):
                return PlainTextResponse("a form of another site\n", 403)
            if not is_length(headers.get("content-length", "")):
                return PlainTextResponse(f"a form needs a length, of at most {MOST_BYTES} bytes\n", 413)
        if self._gatekeeper is None:
            return None
        try:
            self._gatekeeper.caller(headers.get("authorization")).require(TokenScope.PLAN)
        except (Unauthenticated, PermissionDenied) as error:
            note_refusal(scope["path"], error)
            is_known = isinstance(error, PermissionDenied)
            return PlainTextResponse(f"{error}\n", 403 if is_known else 401, None if is_known else CHALLENGE)
        return None


def is_length(text: str) -> bool:
    """Whether it is a number of bytes that a form may have."""
    return text.isdecimal() and len(text) <= len(str(MOST_BYTES)) and int(text) <= MOST_BYTES


def is_from_here(headers: Headers) -> bool:
    """Whether a browser sent the form from this page; what is no browser says nothing of where."""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None:
        return site in ("same-origin", "none")
    return origin is None or urlsplit(origin).netloc == headers.get("host")
