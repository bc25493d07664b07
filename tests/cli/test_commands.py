"""The commands that ask services, against servers that speak the protocol."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from alpaserve.v1 import model_pb2, placement_pb2
from alpaserve.v1.planner_pb2 import Transition
from alpaserve_cli.watching import picture
from rich.console import Console

from services.core.documents import parse_placement
from services.core.profile import ParallelConfig
from services.core.profile_documents import parse_profiles
from tests.cli.conftest import Finished, Run
from tests.cli.scripted_planner import GROUP, ScriptedPlanner, ScriptedProfiler, planning, transitions
from tests.clients.scripted_router import ScriptedRouter, rejection, serving

PLACEMENT = {
    "schema": "alpaserve.placement/v1",
    "groups": [{"inter_op": 1, "intra_op": 2, "devices": [0, 1], "models": ["m0", "m1"]}],
}
PROFILES = {
    "schema": "alpaserve.profiles/v1",
    "models": [
        {
            "model": "bert",
            "profiles": [
                {
                    "inter_op": 1,
                    "intra_op": 1,
                    "batch_size": 1,
                    "stage_latency_s": [0.1],
                    "stage_weight_bytes": [1],
                }
            ],
        }
    ],
}


def document(finished: Finished) -> Any:
    assert finished.exit_code == 0, finished.stderr
    return json.loads(finished.stdout)


@pytest.fixture
def placement_file(tmp_path: Path) -> Path:
    path = tmp_path / "placement.json"
    path.write_text(json.dumps(PLACEMENT))
    return path


def test_infer_prints_outputs_and_times(run: Run, tmp_path: Path) -> None:
    np.save(tmp_path / "mask.npy", np.ones(3, np.int8))
    inputs = ("--input", "ids=[101, 7, 102]", "--input", f"mask=@{tmp_path}/mask.npy", "--input", "x=[[1]]:float64")
    with serving(ScriptedRouter()) as address:
        answer = document(run("infer", "m0", *inputs, "--router", address, "--output", "json"))

    assert answer["group"] == "g3"
    assert answer["outputs"] == {
        "ids": {"dtype": "int32", "shape": [3], "data": [101, 7, 102]},
        "mask": {"dtype": "int8", "shape": [3], "data": [1, 1, 1]},
        "x": {"dtype": "float64", "shape": [1, 1], "data": [[1.0]]},
    }


def test_a_rejected_request_ends_in_one_line_on_stderr(run: Run) -> None:
    with serving(ScriptedRouter(failures={"m0": rejection()})) as address:
        finished = run("infer", "m0", "--router", address, "--output", "json")

    assert (finished.exit_code, finished.stdout) == (1, "")
    assert finished.stderr == "error: predicted to be late\n"


@pytest.mark.parametrize(
    "given",
    [
        "ids",
        "ids=[1",
        "ids=@missing.npy",
        "ids=[1]:int7",
        'ids="text"',
        "ids=[[1], [2, 3]]",
        "ids=[300]:int8",
        "ids=[1.5]:int8",
        "ids=[99999999999]",
        "ids=[2]:bool",
    ],
)
def test_an_input_that_cannot_be_read_is_told(run: Run, given: str) -> None:
    finished = run("infer", "m0", "--input", given)

    assert (finished.exit_code, finished.stdout) == (2, "")
    assert finished.stderr.startswith("error: --input")


def test_a_model_is_added_listed_and_removed(run: Run, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with planning(ScriptedPlanner()) as address:
        planner = ("--planner", address, "--output", "json")
        run("models", "add", "m0", "--config", tmp_path / "config.json", "--seed", 3, "--slo", 0.25, *planner)
        run("models", "add", "m1", "--profile", "bert", "--slo-scale", 5, *planner)
        listed = document(run("models", "list", *planner))["models"]
        removed = document(run("models", "remove", "m0", *planner))
        again = run("models", "remove", "m0", *planner)

    assert [(row["name"], row["profile"], row["slo_s"], row["slo_scale"]) for row in listed] == [
        ("m0", "m0", 0.25, None),
        ("m1", "bert", None, 5.0),
    ]
    assert removed == {"removed": "m0"}
    assert (again.exit_code, again.stderr) == (1, "error: no model 'm0'\n")


def test_a_placement_is_applied_shown_and_rolled_back(run: Run, placement_file: Path) -> None:
    with planning(ScriptedPlanner()) as address:
        planner = ("--planner", address, "--output", "json")
        first = document(run("apply", placement_file, *planner))
        document(run("apply", placement_file, "--expected-version", 1, *planner))
        stale = run("apply", placement_file, "--expected-version", 1, *planner)
        back = document(run("rollback", *planner))
        shown = document(run("placement", *planner))

    assert (first["version"], first["transition_s"], len(first["diff"]["formed"])) == (1, 0.5, 1)
    assert (stale.exit_code, stale.stderr) == (1, "error: version 2 runs\n")
    assert back["version"] == shown["version"] == 3
    assert parse_placement(shown) == parse_placement(PLACEMENT)


EVENTS = [
    ("transition_began", None),
    ("step_began", "load"),
    ("model_down", None),
    ("step_ended", "load"),
    ("step_began", "switch"),
    ("step_ended", "switch"),
    ("model_back", None),
    ("transition_ended", None),
]


def test_a_watched_transition_is_an_event_a_line(run: Run, placement_file: Path) -> None:
    with planning(ScriptedPlanner()) as address:
        finished = run("apply", placement_file, "--watch", "--planner", address, "--output", "json")
        again = run("apply", "--watch", "--planner", address, "--output", "json")

    events = [json.loads(line) for line in finished.stdout.splitlines()]
    assert [(event["event"], event.get("kind")) for event in events] == [*EVENTS, ("applied", None)]
    assert (events[-1]["version"], events[-2]["state"], events[-2]["transition_s"]) == (1, "applied", 1.25)
    assert [json.loads(line) for line in again.stdout.splitlines()] == events[:-1]


def test_what_is_neither_applied_nor_watched_is_refused(run: Run) -> None:
    finished = run("apply")

    assert (finished.exit_code, finished.stderr) == (
        2,
        "error: name a placement to apply, or --watch the transition that is under way\n",
    )


def test_a_transition_is_pictured_with_its_steps_and_what_is_down() -> None:
    *_, moving, _ = (Transition.FromString(one.SerializeToString()) for one in transitions())
    console = Console(width=100, record=True, file=io.StringIO())

    console.print(picture(moving))

    text = console.export_text()
    assert "1 of 2 steps" in text
    assert "down: m0" in text
    assert [line.split()[:2] for line in text.splitlines() if "✓" in line or "▸" in line] == [
        ["✓", "load"],
        ["▸", "switch"],
    ]


def test_a_watched_placement_is_a_document_a_line(run: Run) -> None:
    planner = ScriptedPlanner()
    planner.run(placement_pb2.Placement(groups=[GROUP]))
    planner.run(placement_pb2.Placement())
    with planning(planner) as address:
        finished = run("placement", "--watch", "--planner", address, "--output", "json")

    assert [json.loads(line)["version"] for line in finished.stdout.splitlines()] == [1, 2]


def test_a_silent_group_has_no_figures(run: Run) -> None:
    with planning(ScriptedPlanner()) as address:
        status = document(run("status", "--planner", address, "--output", "json"))

    assert status["groups"][0]["is_alive"] is False
    assert status["groups"][0]["free_in_s"] is None
    assert status["rate_per_s"] == {"m0": 2.5}


def test_a_profile_is_measured_and_printed_as_a_file(run: Run) -> None:
    profiler = ScriptedProfiler()
    with planning(ScriptedPlanner(), profiler) as address:
        arguments = ("--config", "1x1", "--config", "2x1", "--batch-size", 4, "--repeats", 3)
        measured = document(run("profile", "m0", *arguments, "--profiler", address, "--output", "json"))

    profiles = parse_profiles(measured)
    assert profiles["m0"].configs == (ParallelConfig(1, 1), ParallelConfig(2, 1))
    assert profiles.request_overhead_s == 0.125
    assert (list(profiler.requests[0].batch_sizes), profiler.requests[0].num_repeats) == ([4], 3)


def test_profiles_are_imported_listed_shown_and_removed(run: Run, tmp_path: Path) -> None:
    (tmp_path / "profiles.json").write_text(json.dumps(PROFILES))
    profiler = ScriptedProfiler()
    with planning(ScriptedPlanner(), profiler) as address:
        service = ("--profiler", address, "--output", "json")
        imported = document(run("profile", "--import", tmp_path / "profiles.json", *service))
        listed = document(run("profile", "--list", *service))
        shown = document(run("profile", "--show", "bert", *service))
        removed = document(run("profile", "--remove", "bert", *service))

    assert imported == {"profiles": ["bert"]}
    assert parse_profiles(json.loads(profiler.imported[0])) == parse_profiles(PROFILES)
    assert listed == {"profiles": ["bert", "moe"]}
    assert list(parse_profiles(shown)) == ["bert"]
    assert (removed, profiler.removed) == ({"profiles": ["bert"]}, ["bert"])


@pytest.mark.parametrize("arguments", [(), ("m0", "--list"), ("m0", "--config", "2"), ("m0", "--config", "0x1")])
def test_a_profile_command_that_asks_nothing_clear_is_refused(run: Run, arguments: tuple[str, ...]) -> None:
    assert run("profile", *arguments).exit_code == 2


@pytest.mark.parametrize(
    "command",
    [("status",), ("placement",), ("models", "list"), ("rollback",), ("profile", "--list"), ("infer", "m0")],
)
def test_tables_are_printed_by_default(run: Run, command: tuple[str, ...]) -> None:
    planner = ScriptedPlanner(models={"m0": model_pb2.Model(name="m0")})
    planner.run(placement_pb2.Placement(groups=[GROUP]))
    planner.run(placement_pb2.Placement(groups=[GROUP]))
    option = {"profile": "--profiler", "infer": "--router"}.get(command[0], "--planner")
    with planning(planner) as planning_address, serving(ScriptedRouter()) as serving_address:
        address = serving_address if option == "--router" else planning_address
        finished = run(*command, option, address)

    assert finished.exit_code == 0
    assert finished.stdout


def test_a_replay_is_one_document_with_its_prediction(run: Run, tmp_path: Path, placement_file: Path) -> None:
    (tmp_path / "workload.csv").write_text("arrival_s,model\n0.0,m0\n0.1,m1\n")
    models = [{"name": name, "profile": "bert", "slo_s": 2.0} for name in ("m0", "m1")]
    cluster = {"num_devices": 2, "devices_per_node": 2, "memory_bytes": 10}
    spec = {"schema": "alpaserve.spec/v1", "cluster": cluster, "models": models}
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    profiles = json.loads(json.dumps(PROFILES))
    profiles["models"][0]["profiles"][0]["intra_op"] = 2
    (tmp_path / "profiles.json").write_text(json.dumps(profiles))
    files = [argument for name in ("spec", "profiles") for argument in (f"--{name}", tmp_path / f"{name}.json")]
    with serving(ScriptedRouter()) as address:
        replayed = run(
            "replay",
            "--workload",
            tmp_path / "workload.csv",
            "--router",
            address,
            *files,
            "--placement",
            placement_file,
            "--output",
            "json",
        )

    result = document(replayed)
    assert result["outcomes"] == {"served": 2, "late": 0, "rejected": 0, "failed": 0}
    assert (result["attainment"], result["predicted"]["attainment"]) == (1.0, 1.0)


def test_a_replay_is_scored_by_the_registered_slos(run: Run, tmp_path: Path) -> None:
    (tmp_path / "workload.csv").write_text("arrival_s,model\n0.0,m0\n")
    level = model_pb2.ServiceLevel()
    level.slo.FromMilliseconds(50)
    planner = ScriptedPlanner(models={"m0": model_pb2.Model(name="m0", service_level=level)})
    with planning(planner) as planner_address, serving(ScriptedRouter(delay_s=0.2)) as address:
        arguments = ("--workload", tmp_path / "workload.csv", "--router", address, "--planner", planner_address)
        result = document(run("replay", *arguments, "--output", "json"))

    assert result["outcomes"]["late"] == 1
