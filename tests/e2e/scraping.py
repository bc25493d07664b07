"""What the processes of a running system tell Prometheus."""

import json
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import yaml
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

DEPLOY = Path(__file__).parents[2] / "deploy"
ALERTS = DEPLOY / "prometheus/alerts.yaml"
DASHBOARD = DEPLOY / "grafana/dashboards/alpaserve.json"
_NAME = re.compile(r"[a-zA-Z_:][\w:]*")
_SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}


@dataclass
class Metrics:
    """The metrics port of each process, by its name: worker, planner, profiler, r0, …"""

    ports: dict[str, int] = field(default_factory=dict)

    def new_port(self, process: str) -> int:
        """A free one, for a process that is about to start."""
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            self.ports[process] = taken.getsockname()[1]
        return self.ports[process]

    def text(self, process: str) -> str:
        with urlopen(f"http://127.0.0.1:{self.ports[process]}/metrics", timeout=10) as answer:
            return str(answer.read(), "utf-8")

    def families(self, process: str) -> list[Metric]:
        return list(text_string_to_metric_families(self.text(process)))

    def values(self, name: str, *processes: str, **labels: str) -> list[float]:
        """Of all samples with these labels among others."""
        return [
            sample.value
            for process in processes
            for family in self.families(process)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]

    def sum(self, name: str, *processes: str, **labels: str) -> float:
        return sum(self.values(name, *processes, **labels))

    def names(self) -> set[str]:
        """Of all samples, and of families that have none yet."""
        families = [family for process in self.ports for family in self.families(process)]
        samples = {sample.name for family in families for sample in family.samples}
        empty = {name for family in families if not family.samples for name in _names_of(family)}
        return samples | empty


def _names_of(family: Metric) -> list[str]:
    return [family.name + suffix for suffix in _SUFFIXES.get(family.type, ("",))]


def dashboard_expressions() -> list[str]:
    return list(_expressions(json.loads(DASHBOARD.read_text())))


def _expressions(part: Any) -> Iterator[str]:
    """Every `expr` and every query of a variable."""
    if isinstance(part, dict):
        for key, value in part.items():
            if key in ("expr", "definition") and isinstance(value, str):
                yield value
            else:
                yield from _expressions(value)
    elif isinstance(part, list):
        for one in part:
            yield from _expressions(one)


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def metric_names(expression: str) -> set[str]:
    """The metrics that an expression reads: of its names, those with one of our prefixes or of a process."""
    bare = re.sub(r'"[^"]*"', "", expression)
    return {name for name in _NAME.findall(bare) if re.search(r"(^|:)(alpaserve|process|python)_", name)}
