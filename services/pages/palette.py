"""What tells models apart: nine colours that the colour-blind tell apart and black text is readable on (Paul Tol's
`light` scheme), then the same under patterns."""

from collections.abc import Iterable
from dataclasses import dataclass

COLOURS = ("#77aadd", "#ee8866", "#44bb99", "#eedd88", "#ffaabb", "#aaaa00", "#99ddff", "#dddddd", "#bbcc33")
# What is drawn over a tile of 8 by 8 pixels.
PATTERNS = (
    "",
    "M0 8L8 0M-2 2L2 -2M6 10L10 6",
    "M0 4H8",
    "M4 0V8",
    "M0 0L8 8M-2 6L2 10M6 -2L10 2",
    "M2 2h2v2h-2zM6 6h2v2h-2z",
)


@dataclass(frozen=True, slots=True)
class Paint:
    """A colour, and what is drawn over it."""

    colour: int
    pattern: int

    @property
    def hex(self) -> str:
        return COLOURS[self.colour]

    @property
    def path(self) -> str:
        return PATTERNS[self.pattern]

    @property
    def name(self) -> str:
        """The id of the pattern in a page."""
        return f"paint-{self.colour}-{self.pattern}"

    @property
    def fill(self) -> str:
        """The attribute `fill` of a shape."""
        return f"url(#{self.name})" if self.pattern else self.hex


def paints(models: Iterable[str]) -> dict[str, Paint]:
    """A paint for every model, the same one as long as the models stay; they repeat after 54."""
    every = [Paint(colour, pattern) for pattern in range(len(PATTERNS)) for colour in range(len(COLOURS))]
    return {model: every[index % len(every)] for index, model in enumerate(models)}
