"""Triton's own load tester, unchanged, against a real model of the running system."""

import csv
import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cluster import Cluster, group, model
from tests.e2e.jax_cluster import jax_cluster, source
from tests.tiny_bert import CONFIG

ENVIRONMENT = Path(__file__).parents[2] / ".venv-perf-analyzer"
NUM_REQUESTS, CONCURRENCY = 60, 4


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with jax_cluster(tmp_path_factory.mktemp("analyzed"), 1) as running:
        running.register(model("tiny", "tiny", source=source(json.dumps(CONFIG))))
        running.apply(group(1, 1, [0], "tiny"))
        yield running


@pytest.mark.slow
@pytest.mark.parametrize("way", [["--sync"], ["--async"], ["--async", "--streaming"], ["-b", "3"]], ids=" ".join)
def test_it_measures_what_the_statistics_count(cluster: Cluster, tmp_path: Path, way: list[str]) -> None:
    program = ENVIRONMENT / "bin/perf_analyzer"
    assert program.exists(), "make .venv-perf-analyzer/installed makes its environment"
    (runtime,) = ENVIRONMENT.glob("lib/python*/site-packages/nvidia/cuda_runtime/lib")
    (tmp_path / "inputs.json").write_text(json.dumps({"data": [{"input_ids": {"content": [3, 1, 4], "shape": [3]}}]}))
    asked = ["-m", "tiny", "-i", "grpc", "-u", cluster.routers[0].address, "--input-data", f"{tmp_path}/inputs.json"]
    extent = ["--concurrency-range", str(CONCURRENCY), "--request-count", str(NUM_REQUESTS)]
    told = ["-f", f"{tmp_path}/measured.csv", "--verbose-csv"]
    ran = subprocess.run(
        [str(program), *asked, *way, *extent, *told],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "LD_LIBRARY_PATH": str(runtime)},
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    num_examples, num_requests = (
        int(re.findall(rf"^ +{what} count: (\d+)$", ran.stdout, re.MULTILINE)[-1])
        for what in ("Inference", "Successful request")
    )
    # Those under way as it began and ended are in or out.
    assert num_requests == pytest.approx(NUM_REQUESTS, abs=2 * CONCURRENCY)
    assert num_examples == num_requests * (3 if "-b" in way else 1)
    with (tmp_path / "measured.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert float(row["Inferences/Second"]) > 0
    assert float(row["Server Compute Infer"]) > 0
    assert float(row["p50 latency"]) >= float(row["Server Compute Infer"])
