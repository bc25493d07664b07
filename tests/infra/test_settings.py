"""Settings: every variable is listed, every mistake is named."""

import pytest

from services.infra.settings import ServiceSettings, load_settings
from services.planner.settings import PlannerSettings
from services.profiler.settings import ProfilerSettings
from services.router.settings import RouterSettings
from services.worker.settings import WorkerSettings

KINDS = (RouterSettings, PlannerSettings, WorkerSettings, ProfilerSettings)
URL = "redis://127.0.0.1:1/0"
Kind = type[ServiceSettings]


@pytest.fixture(autouse=True)
def url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALPASERVE_REDIS_URL", URL)


@pytest.mark.parametrize("kind", KINDS)
def test_help_lists_every_variable_with_its_default(kind: Kind, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        load_settings(kind, "what it does", ["--help"])
    shown = capsys.readouterr().out
    assert exit_.value.code == 0
    assert shown.startswith("what it does\n")
    assert "ALPASERVE_REDIS_URL  (required)" in shown
    assert [name for name in kind.model_fields if f"  ALPASERVE_{name.upper()}  (" not in shown] == []
    assert [field for field in kind.model_fields.values() if str(field.description) not in shown] == []


@pytest.mark.parametrize(
    ("kind", "variable", "value"),
    [
        (RouterSettings, "ALPASERVE_PORT", "65536"),
        (RouterSettings, "ALPASERVE_PORT", "http"),
        (RouterSettings, "ALPASERVE_LOG_LEVEL", "loud"),
        (RouterSettings, "ALPASERVE_DRAIN_S", "-1"),
        (RouterSettings, "ALPASERVE_MAX_MESSAGE_BYTES", "0"),
        (RouterSettings, "ALPASERVE_MAX_IN_FLIGHT", "0"),
        (PlannerSettings, "ALPASERVE_LIVE_WINDOW_S", "0"),
        (PlannerSettings, "ALPASERVE_REPLACE_MODE", "sometimes"),
        (PlannerSettings, "ALPASERVE_CONTROLLER", "oracle"),
        (PlannerSettings, "ALPASERVE_REPLACE_EVERY_S", "0"),
        (PlannerSettings, "ALPASERVE_REPLACE_HORIZON_S", "nan"),
        (PlannerSettings, "ALPASERVE_REPLACE_MARGIN", "1"),
        (WorkerSettings, "ALPASERVE_EXECUTOR", "torch"),
        (WorkerSettings, "ALPASERVE_NUM_DEVICES", "0"),
        (WorkerSettings, "ALPASERVE_MEMORY_BYTES", "16GB"),
        (ProfilerSettings, "ALPASERVE_NUM_REPEATS", "0"),
    ],
)
def test_a_bad_value_is_named_with_its_variable(
    kind: Kind, variable: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SystemExit) as exit_:
        load_settings(kind, "", [])
    (line,) = capsys.readouterr().err.splitlines()
    assert exit_.value.code == 2
    assert line.startswith(f"{variable}: ")
    assert f"(got {value!r})" in line


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_redis_url_a_service_does_not_start(
    kind: Kind, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("ALPASERVE_REDIS_URL")
    with pytest.raises(SystemExit) as exit_:
        load_settings(kind, "", [])
    assert exit_.value.code == 2
    assert capsys.readouterr().err == "ALPASERVE_REDIS_URL: Field required\n"


def test_every_mistake_is_told_at_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("ALPASERVE_PORT", "-1")
    monkeypatch.setenv("ALPASERVE_DRAIN_S", "soon")
    with pytest.raises(SystemExit):
        load_settings(RouterSettings, "", [])
    variables = [line.partition(":")[0] for line in capsys.readouterr().err.splitlines()]
    assert variables == ["ALPASERVE_PORT", "ALPASERVE_DRAIN_S"]


def test_an_unexpected_argument_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        load_settings(RouterSettings, "", ["--port=1"])
    assert exit_.value.code == 2
    assert "'--port=1'" in capsys.readouterr().err


def test_variables_are_read_and_the_host_is_what_others_reach_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ALPASERVE_PORT", "8000")
    plain = load_settings(RouterSettings, "", [])
    monkeypatch.setenv("ALPASERVE_ADVERTISE_HOST", "router-1")
    advertised = load_settings(RouterSettings, "", [])
    assert (plain.store.url, plain.port, plain.reachable_host) == (URL, 8000, "127.0.0.1")
    assert advertised.reachable_host == "router-1"
