"""`alpaserve selftest` against real services: it finds what works and what does not, and leaves things as they were."""

import json
from typing import Any

import pytest
from alpaserve.v1 import model_pb2, placement_pb2, planner_pb2
from alpaserve_cli.processes import ServiceProcess
from alpaserve_cli.selftest_trial import unused, without
from alpaserve_client import PlannerClient, ProfilerClient

from tests.cli.conftest import Finished, Run
from tests.conftest import System

STAGE = {"inter_op": 1, "intra_op": 1, "batch_size": 1, "stage_latency_s": [0.001], "stage_weight_bytes": [1]}
PROFILES = {"schema": "alpaserve.profiles/v1", "models": [{"model": "m0", "profiles": [STAGE]}]}
Services = dict[str, ServiceProcess]


@pytest.fixture(scope="module")
def control(system: System) -> Services:
    """What needs no devices."""
    return {name: system.start(name) for name in ("planner", "router", "profiler")}


@pytest.fixture(scope="module")
def services(system: System, control: Services) -> Services:
    """With two emulated workers, and a profiler with two real devices."""
    for name in ("worker", "worker-2"):
        system.start("worker", worker_name=name, executor="emulated", num_devices=2)
    return control | {"profiler": system.start("profiler", num_devices=2)}


def found(services: Services) -> tuple[Any, ...]:
    """What a self-test must not change."""
    with (
        PlannerClient(services["planner"].address) as planner,
        ProfilerClient(services["profiler"].address) as profiler,
    ):
        groups = [(tuple(group.devices), tuple(group.models)) for group in planner.placement().placement.groups]
        return groups, [model.name for model in planner.list_models()], profiler.list_profiles()


def selftest(run: Run, services: Services, **others: str) -> Finished:
    addresses = {name: services[name].address for name in ("router", "planner", "profiler")} | others
    options = [part for name, address in addresses.items() for part in (f"--{name}", address)]
    return run("selftest", *options, "--output", "json")


def test_a_service_that_is_away_is_named_and_nothing_is_tried(run: Run, control: Services) -> None:
    finished = selftest(run, control, profiler="127.0.0.1:1")

    assert finished.exit_code == 1
    checks = json.loads(finished.stdout)["checks"]
    assert [(check["name"], check["passed"]) for check in checks] == [
        ("router", True),
        ("planner", True),
        ("profiler", False),
    ]
    assert "127.0.0.1:1" in checks[-1]["found"]


def test_a_system_without_workers_does_not_pass(run: Run, control: Services) -> None:
    finished = selftest(run, control)

    assert finished.exit_code == 1
    assert json.loads(finished.stdout)["checks"][-1]["found"] == "no worker has announced itself"


@pytest.mark.slow
def test_every_group_answers_and_what_ran_before_runs_again(run: Run, services: Services) -> None:
    with (
        ProfilerClient(services["profiler"].address) as profiler,
        PlannerClient(services["planner"].address) as planner,
    ):
        profiler.import_profiles(json.dumps(PROFILES).encode())
        planner.register_model(model_pb2.Model(name="m0"))
        config = model_pb2.ParallelConfig(inter_op=1, intra_op=1)
        planner.apply(placement_pb2.Placement(groups=[placement_pb2.Group(config=config, devices=[1], models=["m0"])]))
    before = found(services)

    finished = selftest(run, services)

    assert finished.exit_code == 0, finished.stdout
    checks = json.loads(finished.stdout)["checks"]
    assert [check["name"] for check in checks[-4:]] == ["group 0", "group 1", "group 2", "restore"]
    assert [check["found"].split(":")[0] for check in checks[-4:-1]] == [
        "worker devices 1 as 1x1",
        "worker devices 0 as 1x1",
        "worker-2 devices 2-3 as 2x1",
    ]
    assert found(services) == before


@pytest.mark.slow
def test_what_was_begun_is_put_back_where_a_check_fails(run: Run, services: Services) -> None:
    before = found(services)

    finished = selftest(run, services, router=services["planner"].address)

    failed = [check["name"] for check in json.loads(finished.stdout)["checks"] if not check["passed"]]
    assert (finished.exit_code, failed) == (1, ["group 0"])
    assert found(services) == before


def group(*devices: int, models: tuple[str, ...] = ()) -> placement_pb2.Group:
    config = model_pb2.ParallelConfig(inter_op=len(devices), intra_op=1)
    return placement_pb2.Group(config=config, devices=devices, models=models)


def test_the_devices_of_a_worker_that_no_group_has_make_one() -> None:
    workers = [planner_pb2.WorkerStatus(first_device=first, num_devices=4) for first in (0, 4, 8)]

    made = unused(workers, [group(1, 2), group(4, 5, 6, 7)])

    assert [list(one.devices) for one in made] == [[0, 3], [8, 9, 10, 11]]


def test_only_the_models_of_the_test_and_its_own_groups_go() -> None:
    placement = placement_pb2.Placement(
        groups=[group(0, models=("a", "t0")), group(1, models=("t1",)), group(2, models=("t2",)), group(3)]
    )

    rest = without(placement, {"t0", "t1", "t2"}, kept=[group(0), group(1)])

    assert [(list(one.devices), list(one.models)) for one in rest.groups] == [([0], ["a"]), ([1], []), ([3], [])]


def test_where_nothing_ran_before_empty_groups_stay() -> None:
    placement = placement_pb2.Placement(groups=[group(0, 1, models=("t0",))])

    rest = without(placement, {"t0"}, kept=[])

    assert [(list(one.devices), list(one.models)) for one in rest.groups] == [([0, 1], [])]
