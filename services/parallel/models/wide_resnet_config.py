"""What the config of a Wide-ResNet says. The keys are ours."""

from dataclasses import dataclass

from services.core.errors import InvalidModel
from services.parallel.models.config_values import Config, count, fraction

_EXPANSION = 4


@dataclass(frozen=True, slots=True)
class Block:
    """The channels of one residual block: it takes `taken`, and its three convolutions give `narrow`,
    `wide` and `given`."""

    taken: int
    narrow: int
    wide: int
    given: int
    stride: int

    @property
    def has_shortcut(self) -> bool:
        return self.taken != self.given or self.stride > 1


@dataclass(frozen=True, slots=True)
class WideResNetConfig:
    """`stage_sizes` are residual blocks; the first stage has `num_filters` channels, each later one twice
    those of the one before, and the second convolution of a block gives `width_factor` times as many."""

    stage_sizes: tuple[int, ...]
    num_filters: int
    width_factor: int
    num_classes: int
    image_size: int
    batch_norm_eps: float

    @property
    def num_features(self) -> int:
        """Channels of the last block."""
        return self.blocks()[-1].given

    def blocks(self) -> tuple[Block, ...]:
        """The residual blocks in order."""
        blocks = []
        taken = self.num_filters
        for stage, size in enumerate(self.stage_sizes):
            narrow = self.num_filters * 2**stage
            for place in range(size):
                stride = 2 if stage > 0 and place == 0 else 1
                blocks.append(Block(taken, narrow, narrow * self.width_factor, narrow * _EXPANSION, stride))
                taken = narrow * _EXPANSION
        return tuple(blocks)


def parse_wide_resnet_config(config: Config) -> WideResNetConfig:
    """Read the parsed JSON of a config.

    Raises:
        InvalidModel: a value is missing or of another kind.
    """
    sizes = config.get("stage_sizes")
    if not isinstance(sizes, list) or not sizes or not all(type(size) is int and size > 0 for size in sizes):
        raise InvalidModel(f"config.json: stage_sizes must be a list of positive integers, got {sizes!r}")
    return WideResNetConfig(
        stage_sizes=tuple(sizes),
        num_filters=count(config, "num_filters"),
        width_factor=count(config, "width_factor"),
        num_classes=count(config, "num_classes"),
        image_size=count(config, "image_size"),
        batch_norm_eps=fraction(config, "batch_norm_eps", 1e-5),
    )
