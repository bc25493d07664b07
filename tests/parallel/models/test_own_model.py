"""A model that an installed package brings, found by its entry point."""

import json
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from services.core.errors import InvalidModel
from services.core.model import ModelSource
from services.parallel.architectures import open_model
from services.parallel.model import Outputs

EXAMPLE = Path(__file__).parents[3] / "deploy" / "examples" / "own_model"
GROUP = "alpaserve.models"


def install(directory: Path, entry_points: dict[str, str]) -> None:
    """What an installer leaves of a package beside its code."""
    metadata = directory / "own_model-0.1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: own-model\nVersion: 0.1.0\n")
    lines = [f"[{GROUP}]", *(f"{name} = {value}" for name, value in entry_points.items())]
    (metadata / "entry_points.txt").write_text("\n".join(lines) + "\n")


def test_a_package_is_found_by_what_it_declares(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forward: Callable[..., list[Outputs]]
) -> None:
    declared = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())
    install(tmp_path, declared["project"]["entry-points"][GROUP])
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.syspath_prepend(EXAMPLE)
    monkeypatch.delitem(sys.modules, "own_model", raising=False)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "mlp", "sizes": [2, 3, 1]}))
    weights = {"w0": [[1, 0, 2], [0, 1, -1]], "b0": [0, 0, 1], "w1": [[1], [10], [100]], "b1": [0.5]}
    for name, values in weights.items():
        np.save(tmp_path / f"{name}.npy", np.array(values, dtype=np.float32))

    model = open_model(ModelSource(checkpoint=str(tmp_path)))

    outputs = forward(model, [{"x": np.array([1.0, 2.0])}, {"x": np.array([-1.0, 0.0])}], [0, 1, 2])
    assert [output["y"].tolist() for output in outputs] == [[121.5], [0.5]]


@pytest.mark.parametrize("value", ["no_such_module:open_mlp", "json:no_such_name"])
def test_an_entry_point_that_cannot_be_loaded_is_named(
    value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, {"mlp": value})
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(InvalidModel, match=f"model_type 'mlp': {value} cannot be loaded"):
        open_model(ModelSource(config='{"model_type": "mlp"}'))


def test_an_unknown_type_is_told_which_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, {"mlp": "own_model:open_mlp"})
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(InvalidModel, match="'mpl' is not known, only bert, gpt2, mlp, moe, wide_resnet"):
        open_model(ModelSource(config='{"model_type": "mpl"}'))


def test_no_package_takes_the_place_of_a_model_of_the_house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, {"bert": "no_such_module:open_bert"})
    monkeypatch.syspath_prepend(tmp_path)

    assert open_model(ModelSource(config="bert-tiny", sequence_length=8)).num_layers == 5
