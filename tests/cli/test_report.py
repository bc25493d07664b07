"""`alpaserve report`: files in, one HTML file out."""

import json
from pathlib import Path

import pytest
from alpaserve_cli.app import app
from typer.testing import CliRunner

from tests.pages.cases import PLACEMENT, PROFILES, SPEC, WORKLOAD

RECORDS = "arrival_s,model,slo_s,outcome,latency_s,group\n0,m0,2.5,served,2.1,g1\n0.5,m0,2.5,rejected,0.01,\n"


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    documents = {"spec": SPEC, "profiles": PROFILES, "placement": PLACEMENT | {"policy": "ilp", "upper_bound": 0.875}}
    for name, document in documents.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(document))
    (tmp_path / "load.csv").write_text(WORKLOAD)
    (tmp_path / "records.csv").write_text(RECORDS)
    given = [part for name in documents for part in (f"--{name}", str(tmp_path / f"{name}.json"))]
    return ["report", *given, "--out", str(tmp_path / "report.html")]


def test_a_plan_becomes_one_file(files: list[str], tmp_path: Path) -> None:
    result = CliRunner().invoke(app, [*files, "--workload", str(tmp_path / "load.csv")], catch_exceptions=False)

    page = (tmp_path / "report.html").read_text()
    assert result.exit_code == 0
    assert "<h1>placement.json under load.csv</h1>" in page
    assert "Planned by <strong>ilp</strong>" in page
    assert "87.50 %" in page


def test_the_file_is_named_as_json(files: list[str], tmp_path: Path) -> None:
    asked = [*files, "--workload", str(tmp_path / "load.csv"), "--output", "json"]
    result = CliRunner().invoke(app, asked, catch_exceptions=False)

    assert json.loads(result.stdout) == {"out": str(tmp_path / "report.html")}


def test_records_alone_are_their_own_workload(files: list[str], tmp_path: Path) -> None:
    CliRunner().invoke(app, [*files, "--records", str(tmp_path / "records.csv")], catch_exceptions=False)

    page = (tmp_path / "report.html").read_text()
    assert "attainment measured" in page
    assert "1 rejected, 0 late, 0 failed" in page


def test_groups_have_the_names_of_the_running_system(files: list[str], tmp_path: Path) -> None:
    groups = [group | {"name": name} for group, name in zip(PLACEMENT["groups"], ("g7", "g1"), strict=True)]
    (tmp_path / "placement.json").write_text(json.dumps(PLACEMENT | {"groups": groups}))

    CliRunner().invoke(app, [*files, "--records", str(tmp_path / "records.csv")], catch_exceptions=False)

    page = (tmp_path / "report.html").read_text()
    assert "<b>g7</b>" in page
    assert "g1 · 1x1" in page


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        ([], "--workload, --records"),
        (["--workload", "{}/load.csv", "--length", "0"], "--length must be positive"),
        (["--workload", "{}/none.csv"], "No such file"),
        (["--records", "{}/load.csv"], "records need the columns"),
    ],
)
def test_what_cannot_be_reported_is_refused(files: list[str], tmp_path: Path, more: list[str], fault: str) -> None:
    with pytest.raises(Exception, match=fault):
        CliRunner().invoke(app, [*files, *(part.format(tmp_path) for part in more)], catch_exceptions=False)
