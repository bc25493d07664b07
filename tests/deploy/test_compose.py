"""The containers are told what their services read."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from services.infra.settings import ServiceSettings, variable
from services.planner.settings import PlannerSettings
from services.profiler.settings import ProfilerSettings
from services.router.settings import RouterSettings
from services.worker.settings import WorkerSettings

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
SETTINGS: dict[str, type[ServiceSettings]] = {
    "router": RouterSettings,
    "planner": PlannerSettings,
    "profiler": ProfilerSettings,
    "worker": WorkerSettings,
}
SERVICES = sorted(SETTINGS)


def service(name: str, file: str = "compose.yaml") -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / file).read_text())["services"][name]
    return found


def variables(name: str) -> set[str]:
    return {variable(field) for field in SETTINGS[name].model_fields}


@pytest.mark.parametrize("name", SERVICES)
def test_every_variable_is_one_that_the_service_reads(name: str) -> None:
    assert set(service(name)["environment"]) - variables(name) == set()


@pytest.mark.parametrize("name", ["profiler", "worker"])
def test_every_variable_for_gpus_is_one_that_the_service_reads(name: str) -> None:
    assert set(service(name, "compose.gpu.yaml")["environment"]) - variables(name) == set()


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_has_longer_to_stop_than_its_service_to_drain(name: str) -> None:
    grace_s = int(service(name)["stop_grace_period"].removesuffix("s"))

    assert grace_s > service(name)["environment"]["ALPASERVE_DRAIN_S"]


def target(name: str) -> str:
    return DOCKERFILE.split(f" AS {service(name)['build']['target']}\n")[1].split("\nFROM ")[0]


def port(name: str) -> str:
    return target(name).split("EXPOSE ")[1].split("\n")[0]


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_has_a_target_that_runs_it(name: str) -> None:
    assert f"ENV ALPASERVE_PORT={port(name)}\n" in target(name)
    assert f'ENTRYPOINT ["alpaserve-{name}"]' in target(name)


def test_a_router_drains_for_longer_than_the_balancer_takes_to_notice() -> None:
    assert service("router")["environment"]["ALPASERVE_DRAIN_NOTICE_S"] > 3


@pytest.mark.parametrize("name", ["balancer", "planner", "profiler"])
def test_the_published_port_is_the_one_that_the_service_listens_on(name: str) -> None:
    (published,) = service(name)["ports"]

    assert published.endswith(f":{port(name)}}}:{port(name)}")
