"""A real planner that searches over a real Ray cluster: the plans that threads find, bit for bit."""

import secrets
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from alpaserve.v1 import planner_pb2
from alpaserve_client import PlannerClient

from tests.conftest import System
from tests.planner.test_searches import asked, within

CLUSTER = """
import sys, ray
ray.init(address="local", num_cpus=2, include_dashboard=False, object_store_memory=100_000_000, log_to_driver=False)
print(ray.get_runtime_context().gcs_address, flush=True)
sys.stdin.read()
ray.shutdown()
"""


@dataclass(frozen=True)
class RayCluster:
    """A cluster of this host in a process of its own."""

    address: str
    process: subprocess.Popen[str]

    def end(self) -> None:
        self.process.communicate()


@pytest.fixture(scope="module")
def ray_cluster() -> Iterator[RayCluster]:
    """Running, with the token that its users need in the environment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        command = [sys.executable, "-c", CLUSTER]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            yield RayCluster(process.stdout.readline().strip(), process)


def planned(address: str) -> planner_pb2.PlanFound:
    """What a planner finds within so many simulations, the seconds left out."""
    with PlannerClient(address) as client:
        *_, last = client.plan(asked(max_simulations=300, seed=5))
    last.plan.search_s = 0.0
    return last.plan


def test_a_plan_over_ray_is_the_one_of_threads(system: System, ray_cluster: RayCluster) -> None:
    there = {"ray_address": ray_cluster.address, "ray_from_size": 0}
    with_threads, over_ray = system.start_together(("planner", {}), ("planner", there))

    assert planned(over_ray.address) == planned(with_threads.address)
    log = over_ray.log_path.read_text()
    assert "ray_joined" in log
    assert "ray_map_failed" not in log


def test_a_small_problem_needs_no_cluster(system: System, ray_cluster: RayCluster) -> None:
    planner = system.start("planner", ray_address=ray_cluster.address)

    planned(planner.address)

    assert "ray_joined" not in planner.log_path.read_text()


def test_a_cluster_out_of_reach_is_told_and_done_without(system: System, unused_tcp_port: int) -> None:
    planner = system.start("planner", ray_address=f"127.0.0.1:{unused_tcp_port}", ray_from_size=0)

    assert planned(planner.address).attainment > 0
    assert "ray_unreachable" in planner.log_path.read_text()


@pytest.mark.slow
def test_a_cluster_that_ends_during_a_search_does_not_end_the_search(system: System, ray_cluster: RayCluster) -> None:
    planner = system.start("planner", ray_address=ray_cluster.address, ray_from_size=0)
    log = planner.log_path
    with PlannerClient(planner.address) as client:
        responses = client.plan(within(600.0))
        next(one for one in responses if one.progress.num_simulations > 300)
        assert "ray_joined" in log.read_text()

        ray_cluster.end()
        next(one for one in responses if "ray_map_failed" in log.read_text())
        lost_at = next(responses).progress.num_simulations
        next(one for one in responses if one.progress.num_simulations > lost_at)
        responses.close()  # type: ignore[attr-defined]

    assert not planner.has_exited
    assert planned(planner.address).attainment > 0
