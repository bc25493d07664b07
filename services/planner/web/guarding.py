"""What stands before every answer of the page: who may ask, from where, and what a browser may do with it."""

from urllib.parse import urlsplit

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.core.errors import PermissionDenied, Unauthenticated
from services.infra.security.tokens import Scope as TokenScope
from services.infra.security.tokens import Tokens

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
    """Refuses whom the tokens do not know as planners, and forms that another site sends; `tokens` None lets all in."""

    def __init__(self, app: ASGIApp, tokens: Tokens | None) -> None:
        self._app = app
        self._tokens = tokens

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
            refusal = self._refusal(scope["method"], Headers(scope=scope))
            await (refusal or self._app)(scope, receive, send_guarded)
        except Exception:
            log.exception("page_failed", path=scope["path"])
            if not has_begun:
                await FAILED(scope, receive, send_guarded)

    def _refusal(self, method: str, headers: Headers) -> PlainTextResponse | None:
        if method not in ("GET", "HEAD"):
            if not is_from_here(headers):
                return PlainTextResponse("a form of another site\n", 403)
            length = headers.get("content-length", "")
            if not length.isdecimal() or int(length) > MOST_BYTES:
                return PlainTextResponse(f"a form needs a length, of at most {MOST_BYTES} bytes\n", 413)
        if self._tokens is None:
            return None
        try:
            self._tokens.caller(headers.get("authorization")).require(TokenScope.PLAN)
        except Unauthenticated as error:
            return PlainTextResponse(f"{error}\n", 401, CHALLENGE)
        except PermissionDenied as error:
            return PlainTextResponse(f"{error}\n", 403)
        return None


def is_from_here(headers: Headers) -> bool:
    """Whether a browser sent the form from this page; what is no browser says nothing of where."""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None:
        return site in ("same-origin", "none")
    return origin is None or urlsplit(origin).netloc == headers.get("host")
