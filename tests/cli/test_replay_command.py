"""`alpaserve replay` as its users run it: sources, shapes, inputs, several processes, interruption, refusals."""

import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from alpaserve_client import decode_tensor
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from tests.cli.conftest import Finished, Run
from tests.clients.scripted_router import ScriptedRouter, rejection, serving

EVEN = "even --rate 40 --duration 1 --models m0,m1"


@pytest.fixture
def router() -> ScriptedRouter:
    """Rejects what is asked of `busy`."""
    return ScriptedRouter(failures={"busy": rejection(predicted_s="1", allowed_s="0.5")})


@pytest.fixture
def address(router: ScriptedRouter) -> Iterator[str]:
    with serving(router) as found:
        yield found


def document(finished: Finished) -> dict[str, object]:
    assert finished.exit_code == 0, finished.stderr
    found: dict[str, object] = json.loads(finished.stdout)
    return found


def identity(router: ScriptedRouter) -> dict[str, tuple[str, bytes, int]]:
    """Model, inputs and SLO of each request, by its number."""
    return {
        request.request_id.rpartition("-")[2]: (
            request.model,
            b"".join(request.inputs[name].data for name in sorted(request.inputs)),
            request.slo.ToNanoseconds(),
        )
        for request in router.requests
    }


def test_several_processes_send_the_same_requests_as_one(run: Run, tmp_path: Path) -> None:
    arguments = ("--workload", EVEN, "--slo-mix", "0.5:5,0.5:7", "--inputs", "random:4-32", "--warm-up-requests", 7)
    sent, figures, records = [], [], []
    for processes in (1, 2):
        path = tmp_path / f"{processes}.csv"
        outputs = ("--output", "json", "--records", path)
        with serving(router := ScriptedRouter()) as address:
            ran = run("replay", "--router", address, *arguments, "--processes", processes, *outputs)
        sent.append(identity(router))
        figures.append(document(ran))
        with path.open() as text:
            records.append([(row["arrival_s"], row["model"], row["slo_s"]) for row in csv.DictReader(text)])

    assert len(sent[0]) == 40
    assert sent[0] == sent[1]
    assert records[0] == records[1]
    assert [one["num_requests"] for one in figures] == [33, 33]
    assert [one["num_warm_up"] for one in figures] == [7, 7]
    assert [one["outcomes"] for one in figures] == [{"served": 33, "late": 0, "rejected": 0, "failed": 0}] * 2


def test_an_interrupted_replay_of_several_processes_reports_what_was_sent(address: str) -> None:
    command = [sys.executable, "-m", "alpaserve_cli", "replay", "--router", address, "--processes", "2"]
    workload = "even --rate 20 --duration 5000 --models m0"
    process = subprocess.Popen(
        [*command, "--workload", workload, "--output", "json", "--progress", "json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    progress = json.loads(process.stderr.readline())
    os.killpg(process.pid, signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)

    assert process.returncode == 0, stderr
    replayed = json.loads(stdout)
    assert progress["num_requests"] == 100_000
    assert 0 < replayed["num_requests"] < 100_000
    assert replayed["outcomes"]["served"] == replayed["num_requests"]


def test_an_attainment_below_what_was_expected_is_an_exit_code(run: Run, address: str) -> None:
    arguments = ("replay", "--router", address, "--workload", "even --rate 20 --duration 1 --models m0,busy")

    assert run(*arguments, "--expect-attainment", 0.5).exit_code == 0
    missed = run(*arguments, "--expect-attainment", 0.6)
    assert (missed.exit_code, missed.stderr) == (3, "expected 60.00 %, got 50.00 %\n")


def test_a_public_trace_is_dealt_to_the_models_and_its_speed_and_rate_changed(
    run: Run, router: ScriptedRouter, address: str, tmp_path: Path
) -> None:
    trace = tmp_path / "maf2.txt"
    trace.write_text("app,func,end_timestamp,duration\n" + "".join(f"x,f{i % 3},{i + 1.5},1.0\n" for i in range(40)))
    records = tmp_path / "records.csv"

    source = ("--workload", f"maf2 {trace} --replay", "--models", "a,b", "--begin", 10, "--end", 30)
    shape = ("--speed", 40, "--rate-scale", 2, "--records", records)
    replayed = document(run("replay", "--router", address, *source, *shape, "--output", "json"))

    with records.open() as text:
        arrivals = [float(row["arrival_s"]) for row in csv.DictReader(text)]
    assert replayed["num_requests"] == len(router.requests) == 40
    assert {request.model for request in router.requests} == {"a", "b"}
    assert 0.4 < arrivals[-1] <= 0.5


def test_functions_of_a_file_become_models_and_a_ramp_moves_them(run: Run, address: str, tmp_path: Path) -> None:
    workload, records = tmp_path / "load.csv", tmp_path / "records.csv"
    workload.write_text("arrival_s,model\n" + "".join(f"{100 + n / 10},f{n % 3}\n" for n in range(11)))

    arguments = ("--workload", workload, "--models", "a,b", "--ramp", "0:1,0.5:3", "--records", records)
    replayed = document(run("replay", "--router", address, *arguments, "--output", "json"))

    with records.open() as text:
        rows = list(csv.DictReader(text))
    assert [row["model"] for row in rows[:4]] == ["a", "b", "a", "a"]
    # The integral of 1 + 4 t is 1 at half a second.
    assert float(rows[-1]["arrival_s"]) == pytest.approx(0.5)
    assert replayed["num_requests"] == 11


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    words = Tokenizer(WordLevel({"where": 7, "is": 8, "it": 9, "[UNK]": 0}, unk_token="[UNK]"))
    words.pre_tokenizer = Whitespace()
    words.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def test_every_model_has_inputs_of_its_own(
    run: Run, router: ScriptedRouter, address: str, tmp_path: Path, tokenizer: Path
) -> None:
    (tmp_path / "rows.jsonl").write_text('{"x": [1, 2]}\n\n{"x": [0.5], "y": 3}\n')
    (tmp_path / "lines.txt").write_text("where is it\nis it\n")
    np.savez(tmp_path / "rows.npz", z=np.arange(6).reshape(3, 2))
    files = {"a": "rows.jsonl", "b": "lines.txt", "c": "rows.npz"}
    options = [word for model, name in files.items() for word in ("--inputs", f"{model}={tmp_path / name}")]
    options += ["--inputs", "random:3"]

    workload = "even --rate 8 --duration 1 --models a,b,c,d"
    ran = run("replay", "--router", address, "--workload", workload, *options, "--tokenizer", tokenizer)

    assert ran.exit_code == 0, ran.stderr
    inputs: dict[str, list[dict[str, list[float]]]] = {}
    for request in sorted(router.requests, key=lambda one: int(one.request_id.rpartition("-")[2])):
        arrays = {name: decode_tensor(tensor).tolist() for name, tensor in request.inputs.items()}
        inputs.setdefault(request.model, []).append(arrays)
    assert inputs["a"] == [{"x": [1, 2]}, {"x": [1, 2]}]
    # The index-th request has the index-th example, from the first again.
    assert inputs["b"] == [{"input_ids": [8, 9], "attention_mask": [1, 1]}] * 2
    assert inputs["c"] == [{"z": [4, 5]}, {"z": [0, 1]}]
    assert [len(one["input_ids"]) for one in inputs["d"]] == [3, 3]


def test_progress_is_told_as_json_on_request_only(run: Run, address: str) -> None:
    told = run("replay", "--router", address, "--workload", EVEN, "--progress", "json")
    silent = run("replay", "--router", address, "--workload", EVEN)

    last = json.loads(told.stderr.splitlines()[-1])
    assert (last["num_sent"], last["num_answered"], last["attainment"]) == (40, 40, 1.0)
    assert silent.stderr == ""


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--workload", "gamma --rate 12 --models m0"), "gamma --rate 12"),
        (("--workload", "gamma --rate many --duration 1 --cv 1 --models m0"), "many"),
        (("--workload", "even --rate 1 --duration 1"), "--models"),
        (("--workload", "nothing.csv"), "nothing.csv"),
        (("--workload", "even --help --models m0"), "makes no workload"),
        (("--processes", 0), "--processes must be at least 1, got 0"),
        (("--speed", 0), "--speed must be positive, got 0"),
        (("--rate-scale", "-1"), "--rate-scale must be positive, got -1"),
        (("--rate-scale", "0.0001"), "no request"),
        (("--cv-scale", "-1"), "--cv-scale must not be negative, got -1"),
        (("--begin", 5, "--end", 4), "--end must come after --begin"),
        (("--ramp", "0:1,5"), "--ramp must be SECONDS:MULTIPLIER, separated by commas, got '0:1,5'"),
        (("--ramp", "5:1,0:1"), "--ramp '5:1,0:1'"),
        (("--slo", "-1"), "--slo must be positive, got -1"),
        (("--slo-mix", "0.7:1,0.7:2"), "--slo-mix '0.7:1,0.7:2'"),
        (("--slo-mix", "0.5:5x"), "needs --spec and --profiles"),
        (("--slo-mix", "m9=0.5:1"), "'m9'"),
        (("--slo-mix", "0.5:1", "--slo-mix", "0.5:2"), "twice"),
        (("--inputs", "data.parquet"), "data.parquet"),
        (("--inputs", "m0=none"), "no inputs of model 'm1'"),
        (("--inputs", "random:0"), "random:0"),
        (("--inputs", "random:lognormal:8"), "lognormal:MEAN:CV"),
        (("--inputs", "gone.jsonl"), "gone.jsonl"),
        (("--inputs", "lines.txt"), "--tokenizer"),
        (("--warm-up", 5, "--warm-up-requests", 3), "not both"),
        (("--warm-up", 5), "--warm-up 5 leaves none of 40 requests"),
        (("--warm-up-requests", "-3"), "--warm-up-requests must not be negative, got -3"),
        (("--timeout", 0), "--timeout must be positive, got 0"),
        (("--records", "/nowhere/records.csv"), "/nowhere/records.csv"),
        (("--report", "report.html"), "--report report.html"),
        (("--expect-attainment", 2), "--expect-attainment must be above 0 and at most 1, got 2"),
        (("--find-rate", 0), "--find-rate must be above 0 and at most 1, got 0"),
        (("--find-rate", 0.9, "--tolerance", 0), "--tolerance must be above 0 and at most 1, got 0"),
        (("--find-rate", 0.9, "--settle", "-1"), "--settle must not be negative, got -1"),
        (("--find-rate", 0.9, "--repeats", 0), "--repeats must be at least 1, got 0"),
        (("--find-rate", 0.9, "--records", "records.csv"), "--records does not go with --find-rate"),
    ],
)
def test_a_bad_option_is_refused_by_name_before_anything_is_sent(
    run: Run, router: ScriptedRouter, address: str, options: tuple[object, ...], said: str
) -> None:
    workload = () if "--workload" in options else ("--workload", EVEN)

    refused = run("replay", "--router", address, *workload, *options)

    assert refused.exit_code == 2
    assert said in refused.stderr
    assert router.requests == []
