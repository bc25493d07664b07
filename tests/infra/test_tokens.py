"""Tokens by their file: whose they are, and what a bad file is told."""

import hashlib
from base64 import b64encode
from pathlib import Path

import pytest

from services.core.errors import InvalidArgument, Unauthenticated
from services.infra.security import tokens
from services.infra.security.tokens import OneToken, Scope, Tokens

SECRET = "a-secret-of-a-test"
DIGEST = hashlib.sha256(SECRET.encode()).hexdigest()


def document(rows: str) -> str:
    return f"schema: alpaserve.tokens/v1\ntokens:\n{rows}"


def row(name: str = "one", sha256: str = DIGEST, scopes: str = "[infer]") -> str:
    return f"  - {{name: {name}, sha256: {sha256}, scopes: {scopes}}}\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    written = tmp_path / "tokens.yaml"
    written.write_text(document(row()))
    return written


@pytest.mark.parametrize(
    "header", [f"Bearer {SECRET}", f"bearer  {SECRET} ", f"Basic {b64encode(f'anybody:{SECRET}'.encode()).decode()}"]
)
def test_a_caller_is_known_by_its_token(path: Path, header: str) -> None:
    caller = Tokens(path).caller(header)

    assert (caller.name, set(caller.scopes)) == ("one", {Scope.INFER})


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", f"Bearer {SECRET}x", f"Digest {SECRET}", "Basic ???", SECRET]
)
def test_anybody_else_is_refused_without_being_repeated(path: Path, header: str | None) -> None:
    for gatekeeper in (Tokens(path), OneToken(SECRET, Scope.INFER)):
        with pytest.raises(Unauthenticated) as refused:
            gatekeeper.caller(header)
        assert SECRET not in str(refused.value)


def test_a_changed_file_is_read_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "LOOK_EVERY_S", 0.0)
    known = Tokens(path)
    other = hashlib.sha256(b"another").hexdigest()

    path.write_text(document(row("two", other, "[plan, admin]")))

    assert known.caller("Bearer another").scopes == {Scope.PLAN, Scope.ADMIN}
    with pytest.raises(Unauthenticated):
        known.caller(f"Bearer {SECRET}")


@pytest.mark.parametrize("content", ["", "tokens: [", None])
def test_a_file_that_becomes_unreadable_changes_nothing(
    path: Path, content: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "LOOK_EVERY_S", 0.0)
    known = Tokens(path)

    path.unlink() if content is None else path.write_text(content)

    assert known.caller(f"Bearer {SECRET}").name == "one"


@pytest.mark.parametrize(
    ("content", "where"),
    [
        ("", "document"),
        ("tokens: [", "is no YAML"),
        ("tokens: []\n", "schema"),
        (document(row(sha256=SECRET)), "tokens.0.sha256"),
        (document(row(scopes="[everything]")), "tokens.0.scopes"),
        (document(row(scopes="[]")), "tokens.0.scopes"),
        (document(row() + row()), "names must differ"),
        (document(row().replace("name:", f"token: {SECRET}, name:")), "tokens.0.token"),
    ],
)
def test_a_bad_file_is_named_with_the_place_and_without_its_values(path: Path, content: str, where: str) -> None:
    path.write_text(content)

    with pytest.raises(InvalidArgument, match=where) as refused:
        Tokens(path)

    assert str(path) in str(refused.value)
    assert SECRET not in str(refused.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"missing\.yaml: No such file"):
        Tokens(tmp_path / "missing.yaml")
