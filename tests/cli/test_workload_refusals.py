"""`alpaserve workload` on input that cannot be used: one line that names it, exit code 2."""

import gzip
from pathlib import Path

import pytest

from tests.cli.conftest import Run

POISSON = ("poisson", "--rate", "1", "--duration", "10")
TRACES = {
    "workload.csv": "arrival_s,model\n1,a\n2,a\n3,a\n",
    "late.csv": "arrival_s,model\n1,a\n0.5,a\n",
    "maf1.csv": "HashOwner,HashApp,HashFunction,Trigger,1,2\no,a,f,http,6,x\n",
    "maf2.csv": "app,func,end_timestamp,duration\nx,f,1,soon\n",
    "azure.csv": "TIMESTAMP,ContextTokens,GeneratedTokens\nyesterday,1,1\n",
    "chunk-1-trace.csv": "0,1,1,Pareto,1,1\n",
}


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory to run in, with the files above."""
    for name, text in TRACES.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "torn.csv.gz").write_bytes(gzip.compress(TRACES["workload.csv"].encode())[:-6])
    (tmp_path / "plain.csv.gz").write_text(TRACES["workload.csv"])
    (tmp_path / "latin.csv").write_bytes("arrival_s,model\n1,caf\xe9\n".encode("latin-1"))
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (POISSON, "give --spec or --models"),
        ((*POISSON, "--models", "a,,b"), "'a,,b'"),
        ((*POISSON, "--models", "a,a"), "'a,a'"),
        ((*POISSON, "--models", "a", "--spec", "none.yaml"), "give --spec or --models"),
        ((*POISSON, "--spec", "none.yaml"), "none.yaml: No such file"),
        ((*POISSON, "--models", "a,b", "--weights", "1"), "1 numbers for 2 models"),
        ((*POISSON, "--models", "a,b", "--weights", "1,x"), "'1,x'"),
        ((*POISSON, "--models", "a,b", "--weights", "1,-1"), "-1.0"),
        ((*POISSON, "--models", "a,b", "--weights", "1,2", "--like", "workload.csv"), "not both"),
        ((*POISSON, "--models", "b", "--like", "workload.csv"), "unknown model 'a'"),
        ((*POISSON, "--models", "a", "--split", "nan"), "nan"),
        (("poisson", "--models", "a", "--rate", "-3", "--duration", "10"), "-3.0"),
        (("poisson", "--models", "a", "--rate", "3", "--duration", "-10"), "-10.0"),
        (("poisson", "--models", "a", "--rate", "1e9", "--duration", "1e9"), "1e+18 requests are too many"),
        (("poisson", "--models", "a", "--rate", "0", "--duration", "10"), "no request"),
        (("gamma", "--models", "a", "--rate", "1", "--duration", "10", "--cv", "-2"), "-2.0"),
        (("gamma", "--models", "a", "--rate", "1", "--duration", "10", "--cv", "1e6"), "1000000.0"),
        (("markov", *POISSON[1:], "--models", "a", "--state", "1"), "LEVEL:SECONDS, got '1'"),
        (("markov", *POISSON[1:], "--models", "a", "--state", "1:5"), "1 and 1"),
        (("markov", *POISSON[1:], "--models", "a", "--state", "0:5", "--state", "0:5"), "no process"),
        (("markov", *POISSON[1:], "--models", "a", "--state", "1:1e-12", "--state", "0:5"), "too many"),
        (("maf1", "maf1.csv", "--models", "a", "--end", "90"), "whole minutes, got 0 and 90"),
        (("maf1", "maf1.csv", "--models", "a", "--end", "120"), "maf1.csv: day 1, line 2"),
        (("maf1", "workload.csv", "--models", "a"), "workload.csv: day 1, line 1"),
        (("maf2", "maf2.csv", "--models", "a"), "maf2.csv: line 2"),
        (("maf2", "none.csv", "--models", "a"), "none.csv: No such file"),
        (("azure-llm", "azure.csv", "--models", "a"), "yesterday"),
        (("servegen", "empty", "--models", "a"), "empty: no chunk"),
        (("servegen", "none", "--models", "a"), "none: not a directory"),
        (("servegen", ".", "--models", "a"), "'Pareto'"),
        (("resample", "workload.csv", "--window", "0"), "0.0"),
        (("resample", "workload.csv", "--gaps", "gamma"), "needs a --window"),
        (("resample", "late.csv"), "late.csv: line 3: arrival_s 0.5"),
        (("resample", "torn.csv.gz"), "torn.csv.gz: not a whole gzip file"),
        (("resample", "plain.csv.gz"), "plain.csv.gz: Not a gzipped file"),
        (("resample", "latin.csv"), "latin.csv: not UTF-8 text: byte 0xe9"),
        (("scale", "workload.csv", "--begin", "5", "--end", "2"), "5 and 2"),
        (("scale", "workload.csv", "--begin", "5"), "no request"),
        (("scale", "workload.csv", "--cv-scale", "-1"), "-1.0"),
        (("scale", "workload.csv", "--rate-scale", "nan"), "nan"),
        (("scale", "workload.csv", "--rate-scale", "1e12"), "too many"),
        (("scale", "workload.csv", "--time-scale", "0"), "0.0"),
    ],
)
def test_input_that_cannot_be_used_is_named(run: Run, room: Path, arguments: tuple[str, ...], named: str) -> None:
    finished = run("workload", *arguments, "--out", "out.csv")

    assert finished.exit_code == 2
    assert named in finished.stderr
    assert finished.stderr.count("\n") == 1
    assert not (room / "out.csv").exists()


def test_a_scale_of_a_description_that_means_nothing_is_named(run: Run, room: Path) -> None:
    finished = run("workload", "describe", "workload.csv", "--scale", "-1")

    assert finished.exit_code == 2
    assert "-1.0" in finished.stderr


def test_a_place_that_cannot_be_written_is_named(run: Run, room: Path) -> None:
    finished = run("workload", *POISSON, "--models", "a", "--out", "none/out.csv")

    assert finished.exit_code == 2
    assert "none/out.csv: No such file" in finished.stderr
