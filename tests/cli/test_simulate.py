"""`alpaserve simulate` on files."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.cli.conftest import Run
from tests.cli.planning_files import PLACEMENT, SPEC, WORKLOAD, options, with_batches, written
from tests.core import oracle

SIMULATE = ("--spec", "--profiles", "--placement", "--workload")


@pytest.fixture
def paths(tmp_path: Path) -> dict[str, Path]:
    return written(tmp_path)


@pytest.mark.parametrize("rule", ["earliest-free", "shortest-queue", "earliest-finish"])
def test_the_document_holds_the_figures_of_an_independent_simulation(
    run: Run, paths: dict[str, Path], rule: str
) -> None:
    finished = run("simulate", *options(paths, *SIMULATE), "--dispatch", rule, "--output", "json")

    document = json.loads(finished.stdout)
    spec = yaml.safe_load(SPEC)
    profiles = json.loads(paths["--profiles"].read_text())
    cells = [line.split(",") for line in WORKLOAD.splitlines()[1:]]
    rows = [(float(arrival), model, float(slo) if slo else None) for arrival, model, slo in cells]
    fates = oracle.simulate(spec, profiles, PLACEMENT, rows, rule)
    attained = [finish is not None for _, finish in fates]
    assert finished.exit_code == 0
    assert finished.stderr == ""
    assert document["attainment"] == sum(attained) / 40
    assert document["goodput_per_s"] == sum(attained) / (rows[-1][0] - rows[0][0])
    assert [row["num_requests"] for row in document["groups"]] == [
        sum(group == index for group, _ in fates) for index in (0, 1)
    ]
    assert document["models"]["m1"] == {"attainment": sum(attained[1::2]) / 20, "num_requests": 20}


def test_the_placement_s_own_dispatch_holds_unless_another_is_asked_for(run: Run, paths: dict[str, Path]) -> None:
    by_option = run("simulate", *options(paths, *SIMULATE), "--dispatch", "shortest-queue", "--output", "json")
    paths["--placement"].write_text(json.dumps(PLACEMENT | {"dispatch": "shortest-queue"}))

    by_placement = run("simulate", *options(paths, *SIMULATE), "--output", "json")

    assert by_placement.stdout == by_option.stdout


def test_a_table_is_printed_for_people(run: Run, paths: dict[str, Path]) -> None:
    finished = run("simulate", *options(paths, *SIMULATE))

    assert finished.exit_code == 0
    assert "attainment" in finished.stdout


def test_it_runs_as_a_process_on_gzipped_workloads_and_json_specs(tmp_path: Path, paths: dict[str, Path]) -> None:
    packed, spec = tmp_path / "workload.csv.gz", tmp_path / "spec.json"
    packed.write_bytes(gzip.compress(WORKLOAD.encode()))
    spec.write_text(json.dumps(yaml.safe_load(SPEC.replace("14e9", "14000000000"))))
    chosen = options(paths | {"--workload": packed, "--spec": spec}, *SIMULATE)
    command = [sys.executable, "-m", "alpaserve_cli", "simulate", *chosen, "--output", "json"]

    ended = subprocess.run(command, capture_output=True, text=True, check=False)

    assert ended.returncode == 0
    assert ended.stderr == ""
    assert json.loads(ended.stdout)["num_requests"] == 40


@pytest.mark.parametrize(
    ("option", "content", "exit_code", "named"),
    [
        ("--spec", SPEC + "owner: me\n", 2, "owner"),
        ("--spec", SPEC.replace("slo_s: 0.6", "slo_s: .nan"), 2, "nan"),
        ("--spec", SPEC + "models: []\n", 2, "'models' is repeated"),
        ("--spec", "models: [", 2, "not YAML"),
        ("--spec", SPEC.replace("bert-2.6b", "bert-9b"), 1, "bert-9b"),
        ("--placement", "{", 2, "not JSON"),
        ("--placement", '{"groups": [], "groups": []}', 2, "'groups' is repeated"),
        ("--placement", '{"schema": "alpaserve.placement/v1", "groups": NaN}', 2, "NaN"),
        ("--placement", '{"schema": "alpaserve.placement/v1", "groups": [], "x": 1e999}', 2, "1e999"),
        ("--placement", "[" * 100_000, 2, "not readable"),
        ("--placement", json.dumps(PLACEMENT).replace("[2]", "[7]"), 2, "device 7"),
        ("--placement", json.dumps(PLACEMENT).replace('"m1"', '"m9"'), 2, "'m9'"),
        ("--workload", "arrival_s,model\n", 2, "no requests"),
        ("--workload", "arrival_s,model\n0,m9\n", 2, "'m9'"),
        ("--workload", "arrival_s,model\n1,m0\n0,m0\n", 2, "line 3"),
    ],
)
def test_input_that_cannot_be_used_is_one_line_on_stderr(
    run: Run, paths: dict[str, Path], option: str, content: str, exit_code: int, named: str
) -> None:
    paths[option].write_text(content)

    finished = run("simulate", *options(paths, *SIMULATE), "--output", "json")

    assert finished.exit_code == exit_code
    assert finished.stdout == ""
    assert finished.stderr.count("\n") == 1
    assert named in finished.stderr


def test_too_little_memory_is_told_with_the_figures(run: Run, paths: dict[str, Path]) -> None:
    paths["--spec"].write_text(SPEC.replace("14e9", "2e9"))

    finished = run("simulate", *options(paths, *SIMULATE))

    assert finished.exit_code == 1
    assert "2000000000" in finished.stderr


@pytest.mark.parametrize(
    ("name", "content"),
    [("gone.csv", None), ("broken.csv.gz", b"arrival_s"), ("latin.csv", b"arrival_s,model\n0,m\xff\n")],
)
def test_a_file_that_cannot_be_read_is_named(
    run: Run, paths: dict[str, Path], tmp_path: Path, name: str, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)

    finished = run("simulate", *options(paths | {"--workload": tmp_path / name}, *SIMULATE))

    assert finished.exit_code == 2
    assert name in finished.stderr
    assert finished.stderr.count("\n") == 1


def test_batches_of_one_are_what_no_batching_is(run: Run, paths: dict[str, Path]) -> None:
    plain = run("simulate", *options(paths, *SIMULATE), "--output", "json")

    batched = run("simulate", *options(paths, *SIMULATE), "--batching", "8", "--output", "json")

    assert json.loads(batched.stdout)["attainment"] == json.loads(plain.stdout)["attainment"]


@pytest.mark.parametrize("rule", ["ours", "published"])
def test_batches_that_pay_serve_more(run: Run, paths: dict[str, Path], tmp_path: Path, rule: str) -> None:
    paths["--profiles"] = with_batches(tmp_path / "batches.json")
    plain = run("simulate", *options(paths, *SIMULATE), "--output", "json")

    batched = run("simulate", *options(paths, *SIMULATE), "--batching-rule", rule, "--output", "json")

    assert batched.exit_code == 0
    assert json.loads(batched.stdout)["attainment"] > json.loads(plain.stdout)["attainment"]


def test_the_batches_that_a_placement_allows_are_simulated_unless_others_are_asked_for(
    run: Run, paths: dict[str, Path], tmp_path: Path
) -> None:
    paths["--profiles"] = with_batches(tmp_path / "batches.json")
    command = ("simulate", *options(paths, *SIMULATE), "--output", "json")
    plain, asked = run(*command), run(*command, "--batching", "4")

    paths["--placement"].write_text(json.dumps(PLACEMENT | {"max_batch_size": 4}))

    assert run(*command).stdout == asked.stdout != plain.stdout
    one_by_one = json.loads(run(*command, "--batching", "1").stdout)
    assert one_by_one["latency_s"] == json.loads(plain.stdout)["latency_s"]


def test_windows_of_a_placement_that_allows_batches_are_refused(run: Run, paths: dict[str, Path]) -> None:
    windows = [{"begin_s": 0.0, "groups": PLACEMENT["groups"]}]
    paths["--placement"].write_text(json.dumps(PLACEMENT | {"windows": windows, "max_batch_size": 4}))

    finished = run("simulate", *options(paths, *SIMULATE))

    assert finished.exit_code == 2
    assert "without batching" in finished.stderr


def test_windows_replace_each_other_and_loading_takes_time(run: Run, paths: dict[str, Path]) -> None:
    windows = [{"begin_s": 0.0, "groups": PLACEMENT["groups"][:1]}, {"begin_s": 0.4, "groups": PLACEMENT["groups"]}]
    paths["--placement"].write_text(json.dumps(PLACEMENT | {"windows": windows}))
    command = ("simulate", *options(paths, *SIMULATE), "--output", "json")

    free = json.loads(run(*command).stdout)
    slow = json.loads(run(*command, "--load-bytes-per-s", "1e9").stdout)

    assert [row["num_requests"] for row in slow["groups"]] == [40, 0]
    assert free["groups"][1]["num_requests"] > 0
    assert free["attainment"] > slow["attainment"]


@pytest.mark.parametrize(
    ("windows", "arguments", "named"),
    [
        ([], ["--batching", "0"], "at least one request"),
        ([], ["--batching-rule", "largest"], "'largest'"),
        ([], ["--batching-rule", "published", "--dispatch", "shortest-queue"], "earliest-free"),
        ([], ["--load-bytes-per-s", "1e9"], "windows"),
        ([{"begin_s": 0.0, "groups": []}], ["--load-bytes-per-s", "0"], "0.0"),
        ([{"begin_s": 0.0, "groups": []}], ["--batching", "4"], "without batching"),
        ([{"begin_s": 0.0, "groups": []}], ["--planner", "127.0.0.1:1"], "without --planner"),
        ([{"begin_s": 1.0, "groups": []}, {"begin_s": 1.0, "groups": []}], [], "begins at 1.0"),
        ([{"groups": []}], [], "windows[0]"),
        ([{"begin_s": 0.0}], [], "windows[0]"),
        ("soon", [], "expected a list"),
    ],
)
def test_batching_and_windows_that_mean_nothing_are_refused(
    run: Run, paths: dict[str, Path], windows: object, arguments: list[str], named: str
) -> None:
    paths["--placement"].write_text(json.dumps(PLACEMENT | {"windows": windows}))

    finished = run("simulate", *options(paths, *SIMULATE), *arguments, "--output", "json")

    assert finished.exit_code == 2
    assert finished.stdout == ""
    assert named in finished.stderr


@pytest.mark.parametrize("arguments", [["--dispatch", "random"], ["--output", "xml"], ["--placement"]])
def test_options_that_mean_nothing_are_refused(run: Run, paths: dict[str, Path], arguments: list[str]) -> None:
    finished = run("simulate", *options(paths, *SIMULATE), *arguments)

    assert finished.exit_code == 2
    assert finished.stdout == ""
