"""What a model is made from, before any profile or placement of it."""

from dataclasses import dataclass

from services.core.errors import InvalidModel
from services.core.spec import ModelSpec

DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where a model's function and weights come from.

    `checkpoint` is a directory in the Hugging Face layout (`config.json`, `model.safetensors`);
    `config` is the JSON text of such a `config.json`, or the name of one that the house carries, with
    random weights from `seed`. Weights and activations are computed in `dtype`. A source with neither can
    be served by emulated devices only.
    """

    checkpoint: str = ""
    config: str = ""
    seed: int = 0
    sequence_length: int = 128
    dtype: str = DTYPES[0]

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise InvalidModel(f"dtype must be one of {list(DTYPES)}, got {self.dtype!r}")
        if self.checkpoint and self.config:
            raise InvalidModel("a model has a checkpoint or a config, not both")
        if self.sequence_length < 1:
            raise InvalidModel(f"sequence_length must be at least 1, got {self.sequence_length}")


@dataclass(frozen=True, slots=True)
class RegisteredModel:
    """A model that may be placed and asked, under the name that requests use.

    An absent source means that only emulated devices can serve it. A request of a model that is
    not idempotent is never tried again once it may have started. `nodes` and `min_nodes` are those of
    a `ModelSpec`.
    """

    name: str
    profile: str
    source: ModelSource | None = None
    slo_scale: float | None = None
    slo_s: float | None = None
    idempotent: bool = True
    nodes: tuple[int, ...] | None = None
    min_nodes: int = 1

    def __post_init__(self) -> None:
        self.spec()

    def spec(self) -> ModelSpec:
        """The model as a planner sees it. Raises: InvalidSpec."""
        return ModelSpec(self.name, self.profile, self.slo_scale, self.slo_s, self.nodes, self.min_nodes)
