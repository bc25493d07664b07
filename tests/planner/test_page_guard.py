"""Who may look at the page, and from where forms may come."""

import hashlib
from base64 import b64encode
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import TimeoutError as RedisTimeoutError
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.core.errors import UnknownModel
from services.infra.security.authorization import REFUSED
from services.infra.security.tokens import Tokens
from services.planner.web.app import make_app
from services.planner.web.guarding import HEADERS, MOST_BYTES, Guard

Headers = dict[str, str]
FORM = {"content-length": "3", "host": "planner:8080"}


async def asked(guard: ASGIApp, headers: Headers, method: str = "GET") -> tuple[int, Headers]:
    """The status and the headers of the answer to a request."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        sent.append(message)

    own = [(name.encode(), value.encode()) for name, value in headers.items()]
    await guard({"type": "http", "method": method, "path": "/", "headers": own}, receive, send)
    return sent[0]["status"], named(sent[0]["headers"])


def named(headers: Iterable[Any]) -> Headers:
    return {name.decode(): value.decode() for name, value in headers}


async def fail(scope: Scope, receive: Receive, send: Send) -> None:
    raise RuntimeError("a bug")


@pytest.fixture
def tokens(tmp_path: Path) -> Tokens:
    rows = [
        {"name": scope, "sha256": hashlib.sha256(scope.encode()).hexdigest(), "scopes": [scope]} for scope in SCOPES
    ]
    path = tmp_path / "tokens.yaml"
    path.write_text(str({"schema": "alpaserve.tokens/v1", "tokens": rows}))
    return Tokens(path)


SCOPES = ("infer", "plan")
OK = PlainTextResponse("here it is")


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        ("", 401),
        ("Bearer wrong", 401),
        ("Basic ???", 401),
        ("Bearer infer", 403),
        ("Bearer plan", 200),
        (f"Basic {b64encode(b'anybody:plan').decode()}", 200),
        (f"Basic {b64encode(b'anybody:wrong').decode()}", 401),
    ],
)
async def test_with_tokens_only_planners_get_in(tokens: Tokens, authorization: str, status: int) -> None:
    found, headers = await asked(Guard(OK, tokens), {"authorization": authorization} if authorization else {})

    assert found == status
    assert ("www-authenticate" in headers) == (status == 401)


@pytest.mark.parametrize(
    ("authorization", "status"), [("Bearer wrong", "UNAUTHENTICATED"), ("Bearer infer", "PERMISSION_DENIED")]
)
async def test_a_refusal_is_counted(tokens: Tokens, authorization: str, status: str) -> None:
    before = REFUSED.labels(status)._value.get()

    await asked(Guard(OK, tokens), {"authorization": authorization})

    assert REFUSED.labels(status)._value.get() == before + 1


async def test_every_answer_says_what_a_browser_may_do_with_it(tokens: Tokens) -> None:
    for guard in (Guard(OK, None), Guard(OK, tokens), Guard(fail, None)):
        _, headers = await asked(guard, {})
        assert HEADERS.items() <= headers.items()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"origin": "http://planner:8080"}, 200),
        ({"origin": "http://elsewhere"}, 403),
        ({"origin": "null"}, 403),
        ({"content-length": str(MOST_BYTES + 1)}, 413),
        ({"content-length": "many"}, 413),
        ({"content-length": "9" * 5_000}, 413),
    ],
)
async def test_a_form_is_small_and_of_this_page(headers: Headers, status: int) -> None:
    found, _ = await asked(Guard(OK, None), FORM | headers, "POST")

    assert found == status


class Failing:
    """Views of which each raises the same."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __getattr__(self, name: str) -> Any:
        async def fail(request: object) -> Response:
            raise self._error

        return fail


@pytest.mark.parametrize(
    ("error", "status"),
    [(ConnectionRefusedError(), 503), (RedisTimeoutError(), 503), (FileNotFoundError(), 500), (UnknownModel("m"), 404)],
)
async def test_only_a_store_that_is_away_is_told_as_one(error: Exception, status: int) -> None:
    views: Any = Failing(error)

    found, _ = await asked(make_app(views, views, views, None), {})

    assert found == status


async def test_a_bug_leaks_no_text() -> None:
    status, _ = await asked(Guard(fail, None), {})

    assert status == 500
