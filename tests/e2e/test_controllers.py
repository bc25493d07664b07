"""Placements that follow the traffic by themselves; every test has a planner of its own."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from time import monotonic
from typing import Any

import pytest
from alpaserve.v1 import placement_pb2, planner_pb2
from alpaserve_cli.processes import ServiceProcess
from alpaserve_client import Aborted, PlannerClient

from tests.e2e.background import asked_beside
from tests.e2e.cluster import Cluster, group, model, running_cluster, slo

# Each device has room for one of the models, and serves ten requests a second of it.
WORKER: dict[str, Any] = {"executor": "emulated", "num_devices": 3, "memory_bytes": 3_000_000_000}
PROFILE = {
    "inter_op": 1,
    "intra_op": 1,
    "batch_size": 1,
    "stage_latency_s": [0.1],
    "stage_weight_bytes": [3_000_000_000],
}
PROFILES = {"schema": "alpaserve.profiles/v1", "models": [{"model": "tenth", "profiles": [PROFILE]}]}
OFTEN = {"replace_every_s": 2, "replace_horizon_s": 60, "time_budget_s": 1, "heal_every_s": 0.2}
FOR_LEFT = placement_pb2.Placement(
    groups=[group(1, 1, [n], model) for n, model in enumerate(("left", "left", "right"))]
)
RATE_PER_S = 16
WAIT_S = 60
# One every 0.1 s at the most.
NUM_LOOKS = 21
Decision = planner_pb2.Decision


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running_cluster(tmp_path_factory.mktemp("controllers"), 1, PROFILES, **WORKER) as running:
        running.register(*(model(name, "tenth", service_level=slo(0.5)) for name in ("left", "right")))
        running.planner.stop()
        yield running


@contextmanager
def planner(cluster: Cluster, mode: str, controller: str) -> Iterator[PlannerClient]:
    """A planner that follows the traffic, over a placement for `left` to be popular."""
    settings = {"replace_mode": mode, "controller": controller} | OFTEN
    process: ServiceProcess = cluster.system.start("planner", **settings)
    try:
        with PlannerClient(process.address) as client:
            client.apply(FOR_LEFT, timeout_s=60)
            yield client
    finally:
        assert process.stop() == 0


def traffic(cluster: Cluster, popular: str, other: str) -> AbstractContextManager[None]:
    """Seven of eight requests are for the popular model, while the block runs."""
    return asked_beside(cluster, RATE_PER_S, lambda number: popular if number % 8 else other)


def first(client: PlannerClient, wanted: Callable[[Decision], bool]) -> Decision:
    """The first decision from now on that is wanted."""
    return next(decision for decision in client.watch_decisions(timeout_s=WAIT_S) if wanted(decision))


def await_looks(client: PlannerClient) -> None:
    """Until the planner has looked at the traffic for longer than from one decision to the next."""
    began_s, num_looks, num_idle = monotonic(), 0, client.decisions(limit=1).num_idle_looks
    while num_looks < NUM_LOOKS:
        assert monotonic() - began_s < WAIT_S
        threading.Event().wait(0.05)
        before, num_idle = num_idle, client.decisions(limit=1).num_idle_looks
        num_looks += max(num_idle - before, 0)


def await_arrivals(client: PlannerClient, name: str) -> None:
    began_s = monotonic()
    while not client.status().rate_per_s.get(name):
        assert monotonic() - began_s < WAIT_S
        threading.Event().wait(0.05)


def is_switch(decision: Decision) -> bool:
    return decision.verdict == planner_pb2.VERDICT_SWITCH


def num_groups_of(client: PlannerClient, name: str) -> int:
    return sum(name in group.models for group in client.placement().placement.groups)


def test_a_placement_follows_popularity_and_stays(cluster: Cluster) -> None:
    with planner(cluster, "auto", "drift") as client:
        with traffic(cluster, "left", "right"):
            await_arrivals(client, "left")
            await_looks(client)
        version = client.placement().placement.version
        with traffic(cluster, "right", "left"):
            switch = first(client, is_switch)
            await_looks(client)
        switches = [decision for decision in client.decisions(limit=100).decisions if is_switch(decision)]

        assert (switch.outcome, switch.mode) == (planner_pb2.DECISION_OUTCOME_APPLIED, "auto")
        assert switch.gain > switch.margin > 0
        assert (switch.base_version, list(switch.move.models_loaded)) == (version, ["right"])
        assert switch.transition_s > 0
        assert switch.HasField("predicted_s")
        assert client.placement().placement.version == switches[0].applied_version
        assert (num_groups_of(client, "left"), num_groups_of(client, "right")) == (1, 2)
        assert all("left" not in own.move.models_loaded for own in switches)


@pytest.mark.slow
def test_an_adviser_tells_of_a_better_placement_and_leaves_what_runs(cluster: Cluster) -> None:
    with planner(cluster, "advisory", "periodic") as client, traffic(cluster, "right", "left"):
        version = client.placement().placement.version
        advice = first(client, is_switch)

        assert (advice.outcome, advice.applied_version) == (planner_pb2.DECISION_OUTCOME_ADVISED, 0)
        assert client.placement().placement.version == version
        assert client.decisions(limit=1).mode == "advisory"
        assert len(client.decisions(limit=1).decisions) == 1


@pytest.mark.slow
def test_a_decision_for_a_version_that_is_gone_is_refused(cluster: Cluster) -> None:
    stopped = threading.Event()

    def publish_versions() -> None:
        """Every new SLO of a model that runs is a new version."""
        for number in range(10**6):
            if stopped.wait(0.05):
                return
            with suppress(Aborted):
                client.register_model(model("left", "tenth", service_level=slo(0.5 + number % 2 / 100)))

    with planner(cluster, "auto", "periodic") as client, traffic(cluster, "right", "left"):
        with ThreadPoolExecutor(1) as beside:
            publishing = beside.submit(publish_versions)
            try:
                refused = first(client, is_switch)
            finally:
                stopped.set()
            publishing.result()

        assert refused.outcome == planner_pb2.DECISION_OUTCOME_REFUSED
        assert refused.error != ""
        assert refused.applied_version == 0
