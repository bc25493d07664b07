"""Where a source's weights come from."""

from pathlib import Path

from services.core.model import ModelSource
from services.parallel.checkpoint import Checkpoint
from services.parallel.models.random_weights import RandomWeights
from services.parallel.models.tensors import Weights


def open_weights(source: ModelSource) -> Weights:
    """The checkpoint of `source`, or random weights from its seed.

    Raises:
        InvalidModel: the checkpoint has no readable weights.
    """
    return Checkpoint(Path(source.checkpoint)) if source.checkpoint else RandomWeights(source.seed)
