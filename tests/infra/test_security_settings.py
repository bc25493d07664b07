"""Half a configuration of security is refused, and no secret is repeated."""

from pathlib import Path

import pytest
from alpaserve_cli.authority import Authority
from alpaserve_cli.security_files import SecurityFiles

from services.infra.settings import ServiceSettings, load_settings
from services.planner.settings import PlannerSettings
from services.router.settings import RouterSettings

SECRET = "a-secret-of-a-test"


@pytest.fixture
def files(tmp_path: Path) -> SecurityFiles:
    files = SecurityFiles(tmp_path)
    files.make(Authority(1.0))
    return files


@pytest.fixture(autouse=True)
def _url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALPASERVE_REDIS_URL", "redis://127.0.0.1:1/0")


def refusal(kind: type[ServiceSettings], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as exit_:
        load_settings(kind, "", [])
    assert exit_.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"TLS_CERTIFICATE": "{}/server.pem"}, "ALPASERVE_TLS_KEY go together"),
        ({"TLS_CA": "{}/ca.pem"}, "ALPASERVE_TLS_CA needs ALPASERVE_TLS_CERTIFICATE"),
        ({"TOKENS_FILE": "{}/tokens.yaml"}, "tokens would travel in the clear"),
        ({"TOKEN": SECRET}, "it would travel in the clear"),
        ({"TOKEN_FILE": "{}/none"}, "none: No such file"),
        ({"TLS_CERTIFICATE": "{}/none", "TLS_KEY": "{}/server-key.pem"}, "none: No such file"),
        ({"TLS_CERTIFICATE": "{}/server.pem", "TLS_KEY": "{}/client-key.pem"}, "KEY_VALUES_MISMATCH"),
        ({"TLS_CERTIFICATE": "{}/tokens.yaml", "TLS_KEY": "{}/server-key.pem"}, "do not load"),
        ({"REDIS_URL": f"redis://:{SECRET}@host:port:port"}, "is no redis://"),
        ({"REDIS_URL": f"http://{SECRET}"}, "is no redis://"),
        ({"REDIS_CA": "{}/ca.pem"}, "need a rediss:// URL"),
        ({"REDIS_PASSWORD_FILE": "{}/none"}, "none: No such file"),
    ],
)
def test_what_does_not_fit_is_named(
    files: SecurityFiles,
    variables: dict[str, str],
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"ALPASERVE_{name}", value.format(files.directory))

    shown = refusal(RouterSettings, capsys)

    assert told in shown
    assert SECRET not in shown


def test_with_tokens_checkpoints_are_confined(
    files: SecurityFiles, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in files.variables("server").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("ALPASERVE_TOKENS_FILE", str(files.tokens_file))

    assert "ALPASERVE_TOKENS_FILE needs ALPASERVE_MODELS_DIR" in refusal(PlannerSettings, capsys)
    assert load_settings(RouterSettings, "", []).tokens_file == files.tokens_file


def test_settings_show_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALPASERVE_REDIS_URL", f"redis://:{SECRET}@127.0.0.1:1/0")
    monkeypatch.setenv("ALPASERVE_REDIS_PASSWORD", SECRET)

    settings = load_settings(RouterSettings, "", [])

    assert SECRET in settings.store.url
    assert SECRET not in f"{settings!r} {settings} {settings.store!r} {settings.model_dump()}"


def test_empty_variables_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("TLS_CERTIFICATE", "TLS_KEY", "TLS_CA", "TOKENS_FILE", "TOKEN", "TOKEN_FILE", "REDIS_PASSWORD_FILE")
    for name in names:
        monkeypatch.setenv(f"ALPASERVE_{name}", "")

    settings = load_settings(RouterSettings, "", [])

    assert (settings.tls, settings.tokens_file, settings.own_token()) == (None, None, "")
