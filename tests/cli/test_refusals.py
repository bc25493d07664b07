"""Planning files that cannot be used are refused by `plan` and `simulate` alike, in one line that names the fault."""

from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.cli.planning_files import SPEC, V100, WORKLOAD, options, written

PLAN = ("--spec", "--profiles", "--workload")
FAULTS = [
    ("--workload", "", 2, "header"),
    ("--workload", "arrival_s,model\n", 2, "the workload has no requests"),
    ("--workload", "arrival_s,model\nnan,m0\n", 2, "line 2: arrival_s 'nan'"),
    ("--workload", "arrival_s,model\n0,m0\ninf,m0\n", 2, "line 3: arrival_s 'inf'"),
    ("--workload", "arrival_s,model\n-1,m0\n", 2, "line 2: arrival_s -1.0"),
    ("--workload", "arrival_s,model\n1,m0\n0.5,m1\n", 2, "line 3: arrival_s 0.5 comes before"),
    ("--workload", "arrival_s,model,slo_s\n0,m0,nan\n", 2, "line 2: slo_s 'nan'"),
    ("--workload", "arrival_s,model,slo_s\n0,m0,-1\n", 2, "line 2: slo_s -1.0"),
    ("--workload", "arrival_s,model\n0,m7\n", 2, "'m7'"),
    ("--workload", "arrival,model\n0,m0\n", 2, "arrival,model"),
    ("--spec", SPEC.replace("bert-2.6b", "bert-9b"), 1, "no profile 'bert-9b'; there are: bert-1.3b"),
    ("--spec", SPEC.replace("slo_scale", "slo_scal"), 2, "models[0].slo_scal"),
    ("--spec", SPEC.replace("memory_bytes", "memory"), 2, "memory"),
    ("--spec", SPEC.replace("slo_scale: 5", "slo_scale: .nan"), 2, "models[0].slo_scale"),
    ("--spec", SPEC.replace("slo_scale: 5", "slo_scale: 5, nodes: [1]"), 2, "model 'm0': there is no node 1"),
    ("--spec", SPEC.replace("slo_scale: 5", "slo_scale: 5, min_nodes: 2"), 2, "min_nodes is 2"),
    ("--spec", SPEC.replace("slo_scale: 5", "slo_scale: 5, node: [0]"), 2, "models[0].node"),
    ("--profiles", V100.read_text().replace('"stage_latency_s"', '"stage_latency"', 1), 2, "stage_latency"),
    ("--profiles", V100.read_text().replace('"stage_latency_s":', '"stage_latency_s": [NaN], "x":', 1), 2, "NaN"),
]


@pytest.mark.parametrize("command", ["plan", "simulate"])
@pytest.mark.parametrize(
    ("option", "content", "exit_code", "named"), FAULTS, ids=[f"{fault[0][2:]}: {fault[3]}" for fault in FAULTS]
)
def test_a_fault_is_named_in_one_line(
    run: Run, tmp_path: Path, command: str, option: str, content: str, exit_code: int, named: str
) -> None:
    paths = written(tmp_path)
    paths[option] = tmp_path / f"faulty{paths[option].suffix}"
    paths[option].write_text(content)
    chosen = PLAN if command == "plan" else (*PLAN, "--placement")

    finished = run(command, *options(paths, *chosen), "--output", "json")

    assert finished.exit_code == exit_code
    assert finished.stdout == ""
    assert finished.stderr.count("\n") == 1
    assert named in finished.stderr


def test_a_placement_off_the_nodes_of_a_model_is_refused(run: Run, tmp_path: Path) -> None:
    paths = written(tmp_path)
    spec = SPEC.replace("devices_per_node: 4", "devices_per_node: 2").replace(
        "slo_scale: 5", "slo_scale: 5, nodes: [0]"
    )
    paths["--spec"].write_text(spec)

    finished = run("simulate", *options(paths, *PLAN, "--placement"), "--output", "json")

    assert finished.exit_code == 2
    assert "group 1 holds model 'm0' on device 2 of node 1; its nodes are 0" in finished.stderr


def test_the_files_without_a_fault_are_fine(run: Run, tmp_path: Path) -> None:
    finished = run("simulate", *options(written(tmp_path), *PLAN, "--placement"), "--output", "json")

    assert finished.exit_code == 0
    assert WORKLOAD.count("\n") - 1 == 40
