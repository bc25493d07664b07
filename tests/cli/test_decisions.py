"""`alpaserve decisions`, against a planner that speaks the protocol."""

import json

import pytest

from tests.cli.conftest import Run
from tests.cli.scripted_planner import ScriptedPlanner, planning


def test_decisions_are_told_as_one_document_the_newest_first(run: Run) -> None:
    with planning(ScriptedPlanner()) as address:
        finished = run("decisions", "--planner", address, "--limit", 2, "--output", "json")

    document = json.loads(finished.stdout)
    refused, applied = document["decisions"]
    assert {name: document[name] for name in ("mode", "controller", "num_idle_looks")} == {
        "mode": "auto",
        "controller": "drift",
        "num_idle_looks": 4,
    }
    assert (refused["outcome"], refused["error"]) == ("refused", "placement version 5 runs, not 4")
    assert (refused["gain"], refused["move"], refused["candidate"]) == (None, None, None)
    assert (applied["at"], applied["verdict"]) == ("2023-11-14T22:13:20Z", "switch")
    assert (applied["gain"], applied["cost"], applied["attainment_stay"]) == (0.125, 0.0, 0.0)
    assert (applied["applied_version"], applied["predicted_s"], applied["transition_s"]) == (4, 0.5, 0.75)
    assert applied["move"]["models_loaded"] == ["m0"]
    assert len(applied["candidate"]["groups"]) == 1


def test_a_table_says_who_decides_and_what_became_of_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "240")
    with planning(ScriptedPlanner()) as address:
        told = " ".join(run("decisions", "--planner", address).stdout.split())

    assert "auto, by drift; 4 looks without a reason since the last one" in told
    for cell in ("version 4 in 0.75 s, predicted 0.50 s", "+12.50 %", "2 loads, 3 GB, 1 groups formed"):
        assert f" {cell} " in told


def test_a_watched_decision_is_one_line(run: Run) -> None:
    with planning(ScriptedPlanner()) as address:
        quiet, applied, refused = run("decisions", "--planner", address, "--watch").stdout.splitlines()
        documents = run("decisions", "--planner", address, "--watch", "--output", "json").stdout.splitlines()

    assert quiet.endswith("drift  too little traffic: kept; 600 s since the last look")
    assert applied == (
        "2023-11-14 22:13:20Z  drift  switch: version 4 in 0.75 s, predicted 0.50 s; rates differ; "
        "gain +12.50 %; cost +0.00 %; margin +0.20 %; moved 2 loads, 3 GB, 1 groups formed"
    )
    assert refused.endswith("switch: refused: placement version 5 runs, not 4")
    assert [json.loads(line)["outcome"] for line in documents] == ["kept", "applied", "refused"]
