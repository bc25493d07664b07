"""Debian's Prometheus with our configuration against a running system: it finds every service, every rule evaluates,
and every picture of the dashboard has data."""

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import numpy as np
import pytest
import yaml
from alpaserve_client import AlpaServeClientError

from tests.e2e.cluster import Cluster, group, model, slo
from tests.e2e.scraping import ALERTS, DEPLOY, Metrics, dashboard_expressions, rules
from tests.waiting import until

INPUTS = {"input_ids": np.arange(4, dtype=np.int64)}
ATTAINMENT = 'model:alpaserve_attainment:ratio_rate5m{model="pictured"}'
JOBS = {"router": ("r0", "r1"), "planner": ("planner",), "worker": ("worker",), "profiler": ("profiler",)}
# Of a system whose callers need no token, and whose placement does not follow the traffic by itself.
WITHOUT_DATA = ("alpaserve_calls_refused_total", "alpaserve_decisions_total")


@dataclass(frozen=True)
class Prometheus:
    """One that runs."""

    address: str

    def ask(self, path: str, **query: str) -> Any:
        with urlopen(f"http://{self.address}/api/v1/{path}?{urlencode(query)}", timeout=10) as answer:
            return json.load(answer)["data"]

    def is_ready(self) -> bool:
        with suppress(URLError, ConnectionError), urlopen(f"http://{self.address}/-/ready", timeout=10) as answer:
            return bool(answer.status == 200)
        return False

    def health(self) -> dict[str, list[str]]:
        """Of the targets, by job."""
        found: dict[str, list[str]] = {}
        for target in self.ask("targets")["activeTargets"]:
            found.setdefault(target["labels"]["job"], []).append(target["health"])
        return found

    def data(self, expression: str) -> list[Any]:
        return list(self.ask("query", query=expression)["result"])


def configuration(metrics: Metrics) -> dict[str, Any]:
    """The one that is shipped, with targets of this machine, asked more often; HAProxy only compose has."""
    document: dict[str, Any] = yaml.safe_load((DEPLOY / "prometheus/prometheus.yaml").read_text())
    document["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    document["scrape_configs"] = [job for job in document["scrape_configs"] if job["job_name"] != "balancer"]
    for job in document["scrape_configs"]:
        del job["dns_sd_configs"]
        job["static_configs"] = [{"targets": [f"127.0.0.1:{metrics.ports[name]}" for name in JOBS[job["job_name"]]]}]
    return document


@contextmanager
def running_prometheus(metrics: Metrics, directory: Path) -> Iterator[Prometheus]:
    """Its absence fails: apt-get install --no-install-recommends prometheus."""
    program = shutil.which("prometheus")
    assert program is not None, "prometheus is missing: apt-get install --no-install-recommends prometheus"
    shutil.copy(ALERTS, directory / ALERTS.name)
    (directory / "prometheus.yaml").write_text(yaml.safe_dump(configuration(metrics)))
    address = f"127.0.0.1:{Metrics().new_port('prometheus')}"
    options = (
        f"--config.file={directory / 'prometheus.yaml'}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address={address}",
    )
    with (directory / "prometheus.log").open("w") as log, subprocess.Popen([program, *options], stderr=log) as process:
        try:
            yield Prometheus(address)
        finally:
            process.terminate()


def expressions() -> list[str]:
    """The dashboard's, with its variables filled in."""
    asked = (one for one in dashboard_expressions() if not one.startswith("label_values"))
    filled = [one.replace("$__rate_interval", "10s").replace("$model", ".*") for one in asked]
    return [one for one in filled if not any(name in one for name in WITHOUT_DATA)]


def without_data(prometheus: Prometheus, among: list[str]) -> list[str]:
    return [one for one in among if not prometheus.data(one)]


@pytest.mark.slow
async def test_prometheus_sees_all_of_a_running_system(cluster: Cluster, tmp_path: Path) -> None:
    cluster.register(model("pictured", service_level=slo(5)))
    with running_prometheus(cluster.metrics, tmp_path) as prometheus:
        await until(prometheus.is_ready, 60)
        await until(lambda: {health for found in prometheus.health().values() for health in found} == {"up"}, 60)
        assert {job: len(found) for job, found in prometheus.health().items()} == {
            job: len(names) for job, names in JOBS.items()
        }
        cluster.apply(group(2, 1, [0, 1], "pictured"))
        missing, give_up_s = expressions(), time.monotonic() + 60
        async with cluster.client(0) as one, cluster.client(1) as other:
            while (missing := without_data(prometheus, missing)) and time.monotonic() < give_up_s:
                for client in (one, other):
                    await client.infer("pictured", INPUTS)
                with pytest.raises(AlpaServeClientError):
                    await one.infer("nonsense", INPUTS)
        assert missing == []
        evaluated = [rule for group_ in prometheus.ask("rules")["groups"] for rule in group_["rules"]]
        assert len(evaluated) == len(rules())
        assert {rule["name"]: rule.get("lastError") for rule in evaluated if rule["health"] != "ok"} == {}
        await until(lambda: prometheus.data(ATTAINMENT), 60)
        assert prometheus.data(ATTAINMENT)[0]["value"][1] == "1"
