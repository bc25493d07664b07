"""`alpaserve profile` against a scripted profiler: what it orders, and what it prints of the answer."""

import json
from pathlib import Path
from typing import Any

import pytest
from alpaserve.v1 import model_pb2, profiler_pb2

from services.core.profile_documents import parse_profiles
from tests.cli.conftest import Run
from tests.cli.scripted_planner import ScriptedPlanner, ScriptedProfiler, planning

ESTIMATED = ("--device-kind", "v100", "--num-devices", 16, "--afresh", "--config", "1x1")


def profiled(run: Run, profiler: ScriptedProfiler, *arguments: object) -> tuple[dict[str, Any], str]:
    """The document on stdout, and stderr."""
    with planning(ScriptedPlanner(), profiler) as address:
        finished = run("profile", *arguments, "--profiler", address, "--output", "json")
    assert finished.exit_code == 0, finished.stderr
    return json.loads(finished.stdout), finished.stderr


def test_several_models_are_profiled_alike_and_printed_as_one_file(run: Run) -> None:
    profiler = ScriptedProfiler()

    document, _ = profiled(run, profiler, "m0", "m1", *ESTIMATED)

    assert list(parse_profiles(document)) == ["m0", "m1"]
    orders = [(one.model, one.device_kind, one.num_devices, one.afresh) for one in profiler.requests]
    assert orders == [("m0", "v100", 16, True), ("m1", "v100", 16, True)]


def test_what_is_pruned_is_told_beside_the_document(run: Run) -> None:
    config = model_pb2.ParallelConfig(inter_op=8, intra_op=1)
    profiler = ScriptedProfiler(pruned=(profiler_pb2.Pruned(config=config, reason="batch 1: too heavy"),))

    document, stderr = profiled(run, profiler, "m0", "--config", "1x1")

    assert "m0: 8x1 is left out: batch 1: too heavy\n" in stderr
    assert [str(config) for config in parse_profiles(document)["m0"].configs] == ["1x1"]


def test_overheads_are_printed_as_a_document_of_their_own(run: Run) -> None:
    document, _ = profiled(run, ScriptedProfiler(), "m0", "--config", "1x1", "--config", "2x1", "--overheads")

    assert [row["config"] for row in document["overheads"]] == [
        {"inter_op": 1, "intra_op": 1},
        {"inter_op": 2, "intra_op": 1},
    ]
    assert document["overheads"][1] == {
        "model": "m0",
        "config": {"inter_op": 2, "intra_op": 1},
        "batch_size": 1,
        "intra_op_communication_s": 0.0,
        "inter_op_communication_s": 0.25,
        "inter_op_imbalance_s": 0.0,
        "share": 0.5,
    }


def test_tables_show_the_overheads_beside_the_profile(run: Run) -> None:
    with planning(ScriptedPlanner(), ScriptedProfiler()) as address:
        finished = run("profile", "m0", "--config", "1x1", "--config", "2x1", "--profiler", address)

    assert "m0 on cpu" in finished.stdout
    assert "m0: overheads of parallelism, seconds" in finished.stdout


def test_a_table_of_alpa_is_sent_as_it_is(run: Run, tmp_path: Path) -> None:
    (tmp_path / "results.tsv").write_text("bert\t1\t1\n")
    profiler = ScriptedProfiler()

    names, _ = profiled(run, profiler, "--import-alpa", tmp_path / "results.tsv")

    assert (names, profiler.imported) == ({"profiles": ["bert"]}, [b"bert\t1\t1\n"])


@pytest.mark.parametrize(
    "arguments", [("--import-alpa", "missing.tsv"), ("m0", "--import-alpa", "x"), ("--overheads",)]
)
def test_an_order_that_is_not_clear_is_refused(run: Run, arguments: tuple[str, ...]) -> None:
    assert run("profile", *arguments).exit_code == 2
