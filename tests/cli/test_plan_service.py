"""Planning through the service: what is asked, and what its answer is printed as."""

import json
from pathlib import Path
from typing import Any

import pytest
from alpaserve_cli.output import Output
from alpaserve_cli.plan_service import plan_request, plan_with_service

from services.core.documents import parse_placement
from services.core.errors import InvalidArgument
from tests.cli.conftest import Run
from tests.cli.scripted_planner import ScriptedPlanner, planning

SPEC = """
schema: alpaserve.spec/v1
cluster: {num_devices: 2, devices_per_node: 2, memory_bytes: 10}
models: [{name: m0, profile: bert, slo_s: 2.0}]
"""
PROFILES = """
{"schema": "alpaserve.profiles/v1", "models": [{"model": "bert", "profiles": [], "reference_latency_s": 1}]}
"""


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    contents = {"spec.yaml": SPEC, "profiles.json": PROFILES, "workload.csv": "arrival_s,model\n0.5,m0\n"}
    for name, content in contents.items():
        (tmp_path / name).write_text(content)
    return {name.partition(".")[0]: tmp_path / name for name in contents}


def plan_document(planner: ScriptedPlanner, capsys: pytest.CaptureFixture[str], *, apply: bool) -> Any:
    with planning(planner) as address:
        plan_with_service(plan_request(None, None, None, apply=apply), address, Output.JSON)
    return json.loads(capsys.readouterr().out)


def test_files_are_sent_with_the_request(files: dict[str, Path]) -> None:
    request = plan_request(files["spec"], files["profiles"], files["workload"], apply=False)

    assert [model.name for model in request.models] == ["m0"]
    assert request.cluster.num_devices == 2
    assert [profile.name for profile in request.profiles.models] == ["bert"]
    assert list(request.workload.arrivals.arrival_s) == [0.5]
    assert request.validate_only


def test_without_files_the_running_system_is_planned_for() -> None:
    request = plan_request(None, None, None, apply=True)

    assert not request.models
    assert not any(request.HasField(field) for field in ("cluster", "profiles", "workload"))
    assert not request.validate_only


@pytest.mark.parametrize(("given", "apply"), [(("spec",), False), (("profiles",), False), (("spec", "profiles"), True)])
def test_files_that_do_not_go_together_are_refused(files: dict[str, Path], given: tuple[str, ...], apply: bool) -> None:
    spec, profiles = (files[name] if name in given else None for name in ("spec", "profiles"))

    with pytest.raises(InvalidArgument):
        plan_request(spec, profiles, None, apply=apply)


def test_a_plan_is_a_placement_file_with_its_reasons(capsys: pytest.CaptureFixture[str]) -> None:
    document = plan_document(ScriptedPlanner(), capsys, apply=False)

    assert parse_placement(document).groups[0].models == ("m0",)
    assert (document["attainment"], document["upper_bound"], document["version"]) == (0.75, None, 0)
    assert document["unplaced"] == [{"model": "m1", "reason": "no room"}]
    assert document["transition_s"] is None


def test_an_applied_plan_is_told_as_it_runs(capsys: pytest.CaptureFixture[str]) -> None:
    planner = ScriptedPlanner()

    document = plan_document(planner, capsys, apply=True)

    assert (document["version"], document["transition_s"]) == (1, 0.5)
    assert len(planner.history) == 1


def test_the_plan_command_tells_the_service_how_to_search(run: Run) -> None:
    planner = ScriptedPlanner()
    with planning(planner) as address:
        search = ("--policy", "round-robin", "--seed", 3, "--time-budget", 2.5, "--dispatch", "shortest-queue")
        finished = run("plan", *search, "--planner", address, "--output", "json")

    asked = planner.plans[0]
    assert parse_placement(json.loads(finished.stdout)).groups[0].models == ("m0",)
    assert (asked.policy, asked.seed, asked.dispatch) == ("round-robin", 3, "shortest-queue")
    assert (asked.time_budget.ToMilliseconds(), asked.max_simulations, asked.validate_only) == (2500, 0, True)


def test_the_plan_command_applies_only_if_told(run: Run) -> None:
    planner = ScriptedPlanner()
    with planning(planner) as address:
        run("plan", "--planner", address)
        assert not planner.history
        run("plan", "--planner", address, "--apply")

    assert len(planner.history) == 1


@pytest.mark.parametrize("arguments", [(), ("--apply",)])
def test_the_plan_command_needs_files_or_a_service(run: Run, arguments: tuple[str, ...]) -> None:
    assert run("plan", *arguments).exit_code == 2


@pytest.mark.parametrize(
    ("apply", "end"), [(False, "not applied; version 0 runs"), (True, "applied in 0.50 s, predicted 0.75 s")]
)
def test_tables_say_whether_it_was_applied(capsys: pytest.CaptureFixture[str], apply: bool, end: str) -> None:
    with planning(ScriptedPlanner()) as address:
        plan_with_service(plan_request(None, None, None, apply=apply), address, Output.TABLE)

    assert capsys.readouterr().out.splitlines()[-1] == end


def test_a_target_goes_along(run: Run) -> None:
    planner = ScriptedPlanner()
    with planning(planner) as address:
        run("plan", "--target", "0.9", "--planner", address)
        run("plan", "--planner", address)

    assert [asked.target for asked in planner.plans] == [0.9, 0.0]


def test_a_grid_is_asked_for_the_running_system_where_no_file_says_otherwise(run: Run) -> None:
    planner = ScriptedPlanner()
    with planning(planner) as address:
        finished = run("what-if", "--devices", "4,2", "--planner", address, "--output", "json")

    (asked,) = planner.explorations
    assert [cell["num_devices"] for cell in json.loads(finished.stdout)["cells"]] == [2, 4]
    assert list(asked.grid.num_devices) == [4, 2]
    assert not any(asked.plan.HasField(name) for name in ("cluster", "profiles", "workload"))


def test_a_planner_that_ends_without_a_capacity_is_an_error(run: Run) -> None:
    with planning(ScriptedPlanner()) as address:
        finished = run("capacity", "--vary", "rate", "--planner", address)

    assert finished.exit_code == 1
    assert "without a capacity" in finished.stderr
