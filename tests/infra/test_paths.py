"""Checkpoints are within their directory, whatever their paths say."""

from pathlib import Path

import pytest

from services.core.errors import InvalidModel
from services.core.model import ModelSource, RegisteredModel
from services.infra.security.paths import located


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A directory of models beside one that is none of theirs."""
    for name in ("models/good", "models/stores", "elsewhere"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "config.json").write_text("{}")
    (tmp_path / "models/linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "models/loop").symlink_to(tmp_path / "models/loop")
    (tmp_path / "models/alias").symlink_to(tmp_path / "models/good")
    (tmp_path / "models/good/weights").symlink_to(tmp_path / "models/stores/config.json")
    (tmp_path / "models/partly").mkdir()
    (tmp_path / "models/partly/model.safetensors").symlink_to(tmp_path / "elsewhere/config.json")
    return tmp_path / "models"


def model(checkpoint: str) -> RegisteredModel:
    return RegisteredModel("m", "m", ModelSource(checkpoint=checkpoint))


@pytest.mark.parametrize("checkpoint", ["good", "alias", "./stores/../good", "{root}/good"])
def test_a_checkpoint_within_is_found(root: Path, checkpoint: str) -> None:
    source = located(model(checkpoint.format(root=root)), root).source

    assert source == ModelSource(checkpoint=str(root / "good"))


@pytest.mark.parametrize(
    "checkpoint",
    ["../elsewhere", "good/../../elsewhere", "/etc", "{root}/../elsewhere", "{root}-other", "linked", "loop", "a\0b"],
)
def test_a_path_that_leads_out_is_named(root: Path, checkpoint: str) -> None:
    given = checkpoint.format(root=root)

    with pytest.raises(InvalidModel) as refused:
        located(model(given), root)

    assert str(refused.value) == f"checkpoint {given!r} is not within ALPASERVE_MODELS_DIR"


def test_a_file_that_leads_out_is_named(root: Path) -> None:
    with pytest.raises(InvalidModel, match=r"'partly': model.safetensors leads out"):
        located(model("partly"), root)


def test_without_a_directory_every_path_is_good() -> None:
    assert located(model("/etc"), None) == model("/etc")
