"""What a running system's metrics ports say, beside what its clients saw and what dashboard and alerts ask for."""

import asyncio
import shutil
import subprocess

import numpy as np
import pytest
from alpaserve_client import AlpaServeClientError, DeadlineExceeded, NotFound, SloUnattainable

from tests.e2e.cluster import Cluster, group, model, slo
from tests.e2e.scraping import ALERTS, DEPLOY, Metrics, dashboard_expressions, metric_names, rules
from tests.waiting import until

INPUTS = {"input_ids": np.arange(4, dtype=np.int64)}
ROUTERS = ("r0", "r1")
PROCESSES = (*ROUTERS, "worker", "planner", "profiler")
TOLD_WITH_TLS = {"alpaserve_certificate_expiry_timestamp_seconds"}


@pytest.fixture
def watched(cluster: Cluster) -> Cluster:
    """With two models of these tests' own behind both routers."""
    cluster.register(model("measured", service_level=slo(5)), model("sluggish", "slow"))
    cluster.apply(group(2, 1, [0, 1], "measured"), group(1, 1, [2], "sluggish"))
    return cluster


async def test_figures_are_what_clients_saw(watched: Cluster) -> None:
    counted = figures(watched.metrics)
    took_s = 0.0
    async with watched.client(0) as one, watched.client(1) as other:
        for client in (one, other, one):
            began_s = asyncio.get_running_loop().time()
            await client.infer("measured", INPUTS)
            took_s += asyncio.get_running_loop().time() - began_s
        with pytest.raises(SloUnattainable):
            await other.infer("sluggish", INPUTS, slo_s=1)
        with pytest.raises(AlpaServeClientError, match="-1"):
            await other.infer("measured", INPUTS, slo_s=-1)
        with pytest.raises(DeadlineExceeded):
            await one.infer("measured", INPUTS, slo_s=1e-6)
    more = {name: figure - counted[name] for name, figure in figures(watched.metrics).items()}
    assert 3 * 0.02 < more.pop("latency") < took_s
    assert more == {
        "served": 3,
        "late": 1,
        "rejected": 0,
        "failed": 0,
        "cancelled": 0,
        "arrivals": 4,
        "deadlines met": 3,
        "deadlines missed": 1,
        "latencies": 3,
        "predictions": 3,
        "sluggish rejected by r1": 1,
        "sluggish deadlines missed": 1,
    }


def figures(metrics: Metrics) -> dict[str, float]:
    """What both routers have counted so far, which others may have asked before."""

    def of(name: str, *processes: str, model: str = "measured", **labels: str) -> float:
        return metrics.sum(f"alpaserve_{name}", *(processes or ROUTERS), model=model, **labels)

    outcomes = ("served", "late", "rejected", "failed", "cancelled")
    return {outcome: of("requests_total", outcome=outcome) for outcome in outcomes} | {
        "arrivals": of("arrivals_total"),
        "deadlines met": of("deadlines_total", result="met"),
        "deadlines missed": of("deadlines_total", result="missed"),
        "latencies": of("request_latency_seconds_count"),
        "latency": of("request_latency_seconds_sum"),
        "predictions": of("prediction_error_seconds_bucket", le="+Inf"),
        "sluggish rejected by r1": of("requests_total", "r1", model="sluggish", outcome="rejected"),
        "sluggish deadlines missed": of("deadlines_total", model="sluggish", result="missed"),
    }


async def test_leaders_tell_how_busy_they_are_through_their_worker(watched: Cluster) -> None:
    metrics = watched.metrics
    pipeline, alone = (one.name for one in watched.placement().groups)

    def of_alone(name: str) -> float:
        return metrics.sum(f"alpaserve_{name}", "worker", group=alone)

    names = ("queue_time_seconds_count", "queue_time_seconds_sum", "stage_busy_seconds_total")
    count, queue_s, busy_s = map(of_alone, names)
    async with watched.client() as client:
        slow = [asyncio.create_task(client.infer("sluggish", INPUTS)) for _ in range(3)]
        await until(lambda: metrics.values("alpaserve_queue_length", "worker", group=alone) == [2])
        assert metrics.values("alpaserve_group_in_flight", "worker", group=alone) == [3]
        await client.infer("measured", INPUTS)
        results = await asyncio.gather(*slow)
    executed_s = sum(result.execution_time_s for result in results)
    await until(lambda: of_alone("queue_time_seconds_count") == count + 3)
    assert of_alone("stage_busy_seconds_total") - busy_s == pytest.approx(executed_s)
    assert len(metrics.values("alpaserve_stage_busy_seconds_total", "worker", group=pipeline)) == 2
    waited_s = sum(result.queue_time_s for result in results)
    assert of_alone("queue_time_seconds_sum") - queue_s == pytest.approx(waited_s)


async def test_a_placement_changes_versions_transitions_and_memory(watched: Cluster) -> None:
    metrics = watched.metrics
    applied = metrics.sum("alpaserve_transitions_total", "planner", result="applied")
    version = watched.apply(group(1, 1, [5], "measured")).applied.placement.version
    assert metrics.sum("alpaserve_transitions_total", "planner", result="applied") == applied + 1
    assert metrics.values("alpaserve_placement_version", *ROUTERS) == [version] * 2
    assert metrics.values("alpaserve_placement_version", "worker", "profiler") == []
    held = [metrics.sum("alpaserve_device_weights_bytes", "worker", device=str(device)) for device in range(8)]
    assert held == [0, 0, 0, 0, 0, 3_000_000_000, 0, 0]
    assert set(metrics.values("alpaserve_device_memory_bytes", "worker")) == {16_000_000_000}
    assert metrics.values("alpaserve_group_weights_bytes", "worker") == [3_000_000_000]
    await until(lambda: metrics.values("alpaserve_placement_version", "planner") == [version])
    await until(lambda: set(metrics.values("alpaserve_store_placement_version", *PROCESSES)) == {version})
    await until(lambda: metrics.values("alpaserve_groups", "planner", state="alive") == [1])
    assert metrics.values("alpaserve_routers", "planner") == [2]
    assert metrics.values("alpaserve_workers", "planner") == [1]


async def test_every_process_tells_of_its_calls_and_of_redis(cluster: Cluster) -> None:
    metrics = cluster.metrics
    cluster.planning.status()
    assert metrics.values("alpaserve_redis_up", *PROCESSES) == [1] * len(PROCESSES)
    assert metrics.values("alpaserve_grpc_serving", *PROCESSES) == [1] * len(PROCESSES)
    assert len(metrics.values("process_resident_memory_bytes", *PROCESSES)) == len(PROCESSES)
    asked = metrics.sum("alpaserve_grpc_calls_total", "planner", method="GetStatus", code="OK")
    cluster.planning.status()
    assert metrics.sum("alpaserve_grpc_calls_total", "planner", method="GetStatus", code="OK") == asked + 1
    async with cluster.client() as client:
        with pytest.raises(NotFound):
            await client.infer("nonsense", INPUTS)
    assert metrics.sum("alpaserve_grpc_calls_total", "r0", service="alpaserve.v1.Router", code="NOT_FOUND") >= 1


async def test_names_that_callers_make_up_become_no_labels(cluster: Cluster) -> None:
    async with cluster.client() as client:
        for number in range(5):
            with pytest.raises(NotFound):
                await client.infer(f"made-up-{number}", INPUTS)
    assert "made-up" not in cluster.metrics.text("r0")
    assert cluster.metrics.sum("alpaserve_requests_total", "r0", model="", outcome="invalid") >= 5


async def test_dashboard_and_alerts_ask_for_nothing_that_nobody_tells(watched: Cluster) -> None:
    async with watched.client(0) as client:
        await client.infer("measured", INPUTS)
    await until(lambda: watched.metrics.values("alpaserve_queue_time_seconds_count", "worker"))
    told = watched.metrics.names() | {rule["record"] for rule in rules() if "record" in rule} | TOLD_WITH_TLS
    asked = [*dashboard_expressions(), *(rule["expr"] for rule in rules())]
    assert len(asked) > 50
    assert set().union(*map(metric_names, asked)) - told == set()


@pytest.mark.slow
@pytest.mark.parametrize("process", PROCESSES)
def test_promtool_finds_nothing_to_blame_in_what_a_process_tells(cluster: Cluster, process: str) -> None:
    checked = subprocess.run(
        [promtool(), "check", "metrics"],
        input=without_python(cluster.metrics.text(process)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        ("check", "config", str(DEPLOY / "prometheus/prometheus.yaml")),
        ("check", "rules", str(ALERTS)),
        ("test", "rules", str(DEPLOY / "prometheus/alerts_test.yaml")),
    ],
    ids=" ".join,
)
def test_the_rules_are_valid_and_ring_when_they_should(command: tuple[str, ...]) -> None:
    checked = subprocess.run([promtool(), *command], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_alert_is_tested() -> None:
    tested = (DEPLOY / "prometheus/alerts_test.yaml").read_text()
    alerts = [rule["alert"] for rule in rules() if "alert" in rule]
    assert [alert for alert in alerts if f"alertname: {alert}\n" not in tested] == []


def promtool() -> str:
    """Of Debian's package prometheus. Its absence fails a test: one that is skipped tells nothing."""
    found = shutil.which("promtool")
    assert found is not None, "promtool is missing: apt-get install --no-install-recommends prometheus"
    return found


def without_python(text: str) -> str:
    """What is ours; the client's own counters of garbage are named as they are."""
    return "".join(line for line in text.splitlines(keepends=True) if "alpaserve_" in line)
