"""The containers are told what their services read."""

import re
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


@pytest.mark.parametrize(
    ("file", "name"),
    [
        *(("compose.gpu.yaml", name) for name in ("profiler", "worker")),
        *(("compose.secure.yaml", name) for name in SERVICES),
        ("compose.nodes.yaml", "worker"),
    ],
)
def test_every_variable_of_an_override_is_one_that_the_service_reads(file: str, name: str) -> None:
    given = {variable for variable in service(name, file)["environment"] if variable.startswith("ALPASERVE_")}
    assert given
    assert given - variables(name) == set()


@pytest.mark.parametrize("name", SERVICES)
def test_a_secured_service_is_told_all_that_security_takes(name: str) -> None:
    given = service(name, "compose.secure.yaml")["environment"]
    needed = {"TLS_CA", "TLS_CERTIFICATE", "TLS_KEY", "TOKENS_FILE", "REDIS_CA", "REDIS_PASSWORD_FILE"}
    assert {f"ALPASERVE_{name}" for name in needed} <= set(given)
    assert given["ALPASERVE_REDIS_URL"].startswith("rediss://")


@pytest.mark.parametrize("name", [*SERVICES, "redis", "balancer"])
def test_only_the_command_line_sees_the_keys_of_the_authority(name: str) -> None:
    mounted = service(name, "compose.secure.yaml")["volumes"]
    assert mounted
    assert not any(volume.startswith("security:") for volume in mounted)


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
    assert service("router")["environment"]["ALPASERVE_DRAIN_NOTICE_S"] > 2


@pytest.mark.parametrize("name", ["balancer", "planner", "profiler"])
def test_the_published_port_is_the_one_that_the_service_listens_on(name: str) -> None:
    published = service(name)["ports"][0]

    assert published.endswith(f":{port(name)}}}:{port(name)}")


def test_the_planners_page_is_published_where_it_is() -> None:
    page = service("planner")["environment"]["ALPASERVE_PAGE_PORT"]

    assert service("planner")["ports"][1:] == [f"${{PAGE_PUBLISH:-127.0.0.1:{page}}}:{page}"]


def test_every_variable_that_compose_reads_is_explained() -> None:
    read = {name for path in DEPLOY.glob("compose*.yaml") for name in re.findall(r"(?<!\$)\$\{(\w+)", path.read_text())}
    assert read
    assert {name for name in read if f"`{name}`" not in (DEPLOY / "README.md").read_text()} == set()


@pytest.mark.parametrize("name", ["prometheus", "grafana"])
def test_what_a_monitoring_service_mounts_is_there(name: str) -> None:
    mounted = [volume.split(":")[0] for volume in service(name)["volumes"] if volume.startswith("./")]
    assert mounted
    assert all((DEPLOY / path).is_dir() for path in mounted)


def test_every_service_is_scraped() -> None:
    jobs = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yaml").read_text())["scrape_configs"]
    assert {job["job_name"] for job in jobs} >= {*SERVICES, "balancer"}
