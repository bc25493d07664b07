"""Load tests of a whole running system."""

import csv
import json
from pathlib import Path

import pytest

from tests.cli.conftest import Finished, Run
from tests.e2e.cluster import MEMORY_BYTES, NUM_DEVICES, Cluster, quick_profiles

SLO_S = 0.25
# Two stages of 10 ms, and what two of them less a device take in.
MOST_PER_S = 1 / 0.01


@pytest.fixture
def files(tmp_path: Path) -> tuple[object, ...]:
    """What a prediction needs."""
    models = [{"name": "quick", "profile": "quick", "slo_s": SLO_S}]
    models += [{"name": name, "profile": profile} for name, profile in (("hasty", "quick"), ("slow", "slow"))]
    cluster = {"num_devices": NUM_DEVICES, "devices_per_node": NUM_DEVICES, "memory_bytes": MEMORY_BYTES}
    spec, profiles = tmp_path / "spec.json", tmp_path / "profiles.json"
    spec.write_text(json.dumps({"schema": "alpaserve.spec/v1", "cluster": cluster, "models": models}))
    profiles.write_text(json.dumps(quick_profiles()))
    return "--spec", spec, "--profiles", profiles


def replayed(run: Run, cluster: Cluster, *arguments: object) -> Finished:
    addresses = ("--router", cluster.routers[0].address, "--planner", cluster.planner.address)
    return run("replay", *addresses, "--inputs", "none", *arguments, "--output", "json")


def test_a_replay_leaves_records_and_a_report(
    run: Run,
    cluster: Cluster,
    files: tuple[object, ...],
    tmp_path: Path,
) -> None:
    records, report = tmp_path / "records.csv", tmp_path / "report.html"
    load = ("--workload", "poisson --rate 20 --duration 3 --models quick", "--warm-up", 1, "--processes", 2)

    finished = replayed(run, cluster, *files, *load, "--records", records, "--report", report)

    assert finished.exit_code == 0, finished.stderr
    document = json.loads(finished.stdout)
    with records.open() as text:
        rows = list(csv.DictReader(text))
    assert len(rows) == document["num_requests"] + document["num_warm_up"]
    assert document["predicted"]["num_requests"] == document["num_requests"]
    served = [row for row in rows if row["outcome"] == "served"]
    assert served
    for row in served:
        assert len(row["stage_begin_s"].split(";")) == len(row["stage_end_s"].split(";")) == 2
        assert row["group"] == cluster.placement().groups[0].name
    page = report.read_text()
    assert f"Replay of {load[1]} after a warm-up of {document['num_warm_up']} requests" in page


@pytest.mark.slow
def test_the_highest_rate_at_a_target_is_found(run: Run, cluster: Cluster, files: tuple[object, ...]) -> None:
    search = ("--find-rate", 0.8, "--tolerance", 0.5, "--settle", 0.1, "--repeats", 1)

    finished = replayed(run, cluster, *files, "--workload", "even --rate 50 --duration 3 --models quick", *search)

    assert finished.exit_code == 0, finished.stderr
    found = json.loads(finished.stdout)
    assert found["reached"]
    assert found["attainment"] >= 0.8
    # At more, a fifth of the requests finds no device; as many as fit into its SLO come on top.
    assert found["rate_per_s"] <= (MOST_PER_S + SLO_S * MOST_PER_S / 3) / 0.8
    assert found["predicted"]["rate_per_s"] <= (MOST_PER_S + SLO_S * MOST_PER_S / 3) / 0.8
    best = next(probe for probe in found["probes"] if probe["scale"] == found["scale"])
    assert best["attains"]
    missed = [probe for probe in found["probes"] if not probe["attains"]]
    assert min(probe["scale"] for probe in missed) <= 1.5 * found["scale"] * 1.001
    assert all(probe["low"] <= probe["attainment"] <= probe["high"] for probe in found["probes"])
    assert len(finished.stderr.splitlines()) == len(found["probes"])
