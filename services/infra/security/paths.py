"""Checkpoints are read from one directory, and no path leads out of it."""

from dataclasses import replace
from pathlib import Path

from services.core.errors import InvalidModel
from services.core.model import RegisteredModel


def confined(checkpoint: str, root: Path) -> Path:
    """Where a checkpoint is, links followed; a relative path begins at `root`.

    Raises: InvalidModel if that is not within `root`.
    """
    try:
        path = (root / checkpoint).resolve()
        is_within = path.is_relative_to(root.resolve())
    except (OSError, RuntimeError, ValueError):
        is_within = False
    if not is_within:
        raise InvalidModel(f"checkpoint {checkpoint!r} is not within ALPASERVE_MODELS_DIR")
    return path


def check_links(checkpoint: str, path: Path, root: Path) -> None:
    """Raises: InvalidModel if a link in the directory leads out of `root`."""
    for entry in path.rglob("*"):
        if entry.is_symlink():
            try:
                confined(str(entry), root)
            except InvalidModel:
                inside = entry.relative_to(path)
                raise InvalidModel(f"checkpoint {checkpoint!r}: {inside} leads out of ALPASERVE_MODELS_DIR") from None


def located(model: RegisteredModel, root: Path | None) -> RegisteredModel:
    """The model, its checkpoint by the path to read it from. Reads directories. Without `root` all paths are good.

    Raises: InvalidModel for a checkpoint that is not within `root`, or leads out of it.
    """
    if root is None or model.source is None or not model.source.checkpoint:
        return model
    path = confined(model.source.checkpoint, root)
    check_links(model.source.checkpoint, path, root)
    return replace(model, source=replace(model.source, checkpoint=str(path)))
