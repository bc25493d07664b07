"""What `models add` makes of a model's source; and models that are placed and withdrawn."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run
from tests.cli.scripted_planner import ScriptedPlanner, planning


def added(run: Run, *options: object) -> dict[str, Any]:
    """The model as it is stored."""
    with planning(ScriptedPlanner()) as address:
        finished = run("models", "add", "m0", *options, "--planner", address, "--output", "json")
    (model,) = json.loads(finished.stdout)["models"]
    return dict(model)


def test_a_config_may_be_one_that_workers_carry(run: Run) -> None:
    model = added(run, "--config", "bert-1.3b", "--seed", 3, "--dtype", "bfloat16", "--sequence-length", 2048)

    assert model["config"] == "bert-1.3b, random weights, seed 3"
    assert (model["dtype"], model["sequence_length"]) == ("bfloat16", 2048)


def test_a_config_may_be_a_file(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tiny").write_text('{"model_type": "bert"}')

    models = [added(run, "--config", path) for path in ("tiny", "./tiny", tmp_path / "tiny")]

    assert [model["config"] for model in models] == ["random weights, seed 0"] * 3
    assert {model["dtype"] for model in models} == {"float32"}


def test_a_checkpoint_has_a_dtype_too(run: Run, tmp_path: Path) -> None:
    model = added(run, "--checkpoint", tmp_path, "--dtype", "float16")

    assert (model["checkpoint"], model["config"], model["dtype"]) == (str(tmp_path), None, "float16")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--config", "missing.json"), "missing.json: "),
        (("--config", "missing/bert-1.3b"), "missing/bert-1.3b: "),
        (("--config", "bert-1.3b", "--dtype", "int8"), "--dtype must be one of float32, bfloat16, float16, got 'int8'"),
        (("--config", "bert-1.3b", "--checkpoint", "c"), "--checkpoint or --config, not both"),
    ],
)
def test_a_source_that_cannot_be_is_told(run: Run, options: tuple[str, ...], named: str) -> None:
    finished = run("models", "add", "m0", *options)

    assert (finished.exit_code, finished.stdout) == (2, "")
    assert finished.stderr.startswith("error: ")
    assert named in finished.stderr


def test_a_model_is_placed_and_withdrawn(run: Run) -> None:
    with planning(ScriptedPlanner()) as address:
        planner = ("--planner", address, "--output", "json")
        placed, again = (json.loads(run("models", "place", "m0", *planner).stdout) for _ in range(2))
        gone, none = (json.loads(run("models", "withdraw", "m0", *planner).stdout) for _ in range(2))

    assert placed["groups"][0]["models"] == ["m0"]
    assert placed["transition_s"] == 0.5
    assert again == {"unchanged": "m0 has its place already"}
    assert (gone["groups"], gone["version"]) == ([], 2)
    assert none == {"unchanged": "m0 is on no group"}
