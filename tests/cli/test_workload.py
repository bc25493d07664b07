"""`alpaserve workload`: what it writes, reads back and refuses."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from alpaserve_cli.files import read_workload

from services.core.arrivals import gamma_workload
from services.core.burstiness import statistics
from services.core.workload import Workload, format_workload
from tests.cli.conftest import Run
from tests.cli.planning_files import SPEC

MAF1 = "HashOwner,HashApp,HashFunction,Trigger,1,2\no,a,f,http,60,0\no,a,g,http,0,600\n"
MAF2 = "app,func,end_timestamp,duration\n" + "".join(f"x,f{i % 3},{i + 1.5},1.0\n" for i in range(300))
AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n" + "".join(f"2023-11-16 18:15:{i:02},9,9\n" for i in range(60))
CLIENT = "0,0.0,0.0,,0.0,0.0\n600,5.0,1.0,Gamma,1.0,0.2\n1200,5.0,1.0,Weibull,1.0,0.2\n"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.csv"


@pytest.fixture
def bursty(tmp_path: Path) -> Path:
    path = tmp_path / "bursty.csv.gz"
    text = format_workload(gamma_workload({"a": 5.0, "b": 2.0}, 3.0, 500.0, seed=1))
    path.write_bytes(gzip.compress(text.encode()))
    return path


def written(run: Run, out: Path, *arguments: object) -> Workload:
    finished = run("workload", *arguments, "--out", out)
    assert finished.stderr == ""
    assert finished.exit_code == 0
    return read_workload(out)


@pytest.mark.parametrize(
    ("process", "cv"),
    [(("gamma", "--cv", 3), 3.0), (("poisson",), 1.0), (("even",), 0.0)],
)
def test_a_process_has_its_rate_its_split_and_its_cv(
    run: Run, out: Path, process: tuple[object, ...], cv: float
) -> None:
    rates = ("--rate", 12, "--duration", 2000, "--models", "a,b,c", "--split", -1)

    found = statistics(written(run, out, *process, *rates)).models

    wanted = {"a": 12 / (11 / 6), "b": 6 / (11 / 6), "c": 4 / (11 / 6)}
    assert {name: row.rate_per_s for name, row in found.items()} == pytest.approx(wanted, rel=0.12)
    assert [row.cv for row in found.values()] == pytest.approx([cv] * 3, rel=0.15, abs=1e-6)


def test_a_markov_process_keeps_its_mean_rate(run: Run, out: Path) -> None:
    states = ("--state", "1:5", "--state", "0:15")

    workload = written(run, out, "markov", *states, "--rate", 20, "--duration", 5000, "--models", "a")

    assert len(workload) == pytest.approx(100_000, rel=0.15)
    assert np.mean(np.bincount(workload.arrival_s.astype(int), minlength=5000) == 0) == pytest.approx(0.7, abs=0.08)


def test_models_come_from_a_spec_and_shares_from_a_workload(run: Run, tmp_path: Path, out: Path) -> None:
    spec, like = tmp_path / "spec.yaml", tmp_path / "like.csv"
    spec.write_text(SPEC)
    like.write_text("arrival_s,model\n1,m1\n2,m0\n3,m1\n4,m1\n")

    workload = written(run, out, "even", "--rate", 8, "--duration", 10, "--spec", spec, "--like", like)

    assert dict(zip(workload.names, workload.num_requests_of.tolist(), strict=True)) == {"m0": 20, "m1": 60}


def test_weights_split_a_rate(run: Run, out: Path) -> None:
    workload = written(run, out, "even", "--rate", 8, "--duration", 10, "--models", "a, b", "--weights", "1,3")

    assert workload.num_requests_of.tolist() == [20, 60]


def test_the_same_seed_writes_the_same_file_and_gz_packs_it(run: Run, tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.csv.gz", "b.csv.gz", "c.csv")]
    for path in paths:
        written(run, path, "poisson", "--rate", 5, "--duration", 50, "--models", "a", "--seed", 3)

    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert gzip.decompress(paths[0].read_bytes()) == paths[2].read_bytes()


def test_maf1_rates_follow_the_minutes(run: Run, tmp_path: Path, out: Path) -> None:
    trace = tmp_path / "day.csv"
    trace.write_text(MAF1)
    options = ("--models", "a,b", "--end", 240, "--rate-scale", 10, "--cv", 1)

    workload = written(run, out, "maf1", trace, trace, *options)

    minutes = np.histogram2d(workload.arrival_s, workload.model, (4, 2), ((0, 240), (0, 2)))[0]
    of = dict(zip(workload.names, minutes.T.tolist(), strict=True))
    assert of["a"] == pytest.approx([600, 0, 600, 0], rel=0.15)
    assert of["b"] == pytest.approx([0, 6000, 0, 6000], rel=0.05)


def test_maf2_is_replayed_or_refitted(run: Run, tmp_path: Path, out: Path) -> None:
    trace = tmp_path / "trace.csv.gz"
    trace.write_bytes(gzip.compress(MAF2.encode()))
    cut = ("--models", "a,b,c", "--begin", 100, "--end", 200)

    replayed = written(run, out, "maf2", trace, *cut, "--replay", "--time-scale", 0.5)
    refitted = written(run, out, "maf2", trace, *cut, "--window", 50, "--rate-scale", 20, "--cv-scale", 0)

    assert replayed.arrival_s.tolist() == [0.25 + 0.5 * i for i in range(100)]
    assert refitted.num_requests_of == pytest.approx([660] * 3, rel=0.1)


def test_azure_requests_are_dealt_in_turn_or_by_weight(run: Run, tmp_path: Path, out: Path) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text(AZURE)

    in_turn = written(run, out, "azure-llm", trace, "--models", "a,b")
    by_weight = written(run, out, "azure-llm", trace, "--models", "a,b", "--weights", "0,1", "--begin", 10)

    assert in_turn.num_requests_of.tolist() == [30, 30]
    assert (by_weight.names, len(by_weight)) == (("b",), 50)


def test_servegen_clients_are_read_in_the_order_of_their_numbers(run: Run, tmp_path: Path, out: Path) -> None:
    (tmp_path / "chunk-10-trace.csv").write_text(CLIENT)
    (tmp_path / "chunk-9-trace.csv").write_text("0,20.0,1.0,Gamma,1.0,0.2\n")
    (tmp_path / "chunk-9-dataset.json").write_text("{}")

    workload = written(run, out, "servegen", tmp_path, "--models", "a,b")

    requests = dict(zip(workload.names, workload.num_requests_of.tolist(), strict=True))
    assert requests == pytest.approx({"a": 12_000, "b": 6000}, rel=0.05)


@pytest.mark.parametrize("gaps", [(), ("--gaps", "gamma", "--window", 100)])
def test_a_resampled_workload_is_as_bursty(run: Run, bursty: Path, out: Path, gaps: tuple[object, ...]) -> None:
    drawn = statistics(written(run, out, "resample", bursty, "--seed", 4, *gaps), [5.0]).total
    source = statistics(read_workload(bursty), [5.0]).total

    assert drawn.rate_per_s == pytest.approx(source.rate_per_s, rel=0.2)
    assert drawn.dispersion == pytest.approx(source.dispersion, rel=0.4)


def test_a_workload_is_cut_and_scaled(run: Run, bursty: Path, out: Path) -> None:
    source = read_workload(bursty).between(100.0, 300.0)
    options = ("--begin", 100, "--end", 300, "--rate-scale", 3, "--cv-scale", 0.5, "--time-scale", 2)

    scaled = written(run, out, "scale", bursty, *options)

    assert len(scaled) == 3 * len(source)
    assert scaled.span_s == pytest.approx(2 * source.span_s, rel=0.05)


def test_a_workload_is_described_in_one_document(run: Run, bursty: Path) -> None:
    finished = run("workload", "describe", bursty, "--scale", 1, "--scale", 20, "--output", "json")

    document = json.loads(finished.stdout)
    assert document["scales_s"] == [1.0, 20.0]
    assert document["total"]["num_requests"] == sum(row["num_requests"] for row in document["models"].values())
    assert document["models"]["a"]["cv"] == pytest.approx(3.0, rel=0.2)
    assert len(document["models"]["b"]["dispersion"]) == 2
    assert "dispersion" in run("workload", "describe", bursty).stdout


def test_what_was_written_is_said_in_one_document(run: Run, out: Path) -> None:
    options = ("--rate", 2, "--duration", 10, "--models", "a,b", "--out", out, "--output", "json")

    document = json.loads(run("workload", "even", *options).stdout)

    assert document == {"out": str(out), "num_requests": 20, "num_models": 2, "span_s": 9.0}
