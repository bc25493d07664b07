"""Random weights that a seed determines, tile by tile: any part of a tensor has the same values however
it is asked for, and costs the memory of the part and of one tile.
"""

import zlib
from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from services.parallel.model import Index
from services.parallel.models.tensors import StoredTensor

_EDGE = 512
"""Tiles are square in the last two axes and flat in the others."""


class RandomWeights:
    """The values of a tensor follow from the seed, its first name and its shape after the first axis."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def read(self, stored: StoredTensor, index: Index, dtype: DTypeLike) -> NDArray[Any]:
        part = np.full([axis.stop - axis.start for axis in index], stored.mean, dtype)
        if stored.spread:
            key = zlib.crc32(stored.names[0].encode())
            for corner, taken, place in _tiles(stored.shape, index):
                tile = self._tile((key, *corner), stored.shape, corner)
                part[place] = stored.mean + np.float32(stored.spread) * tile[taken]
        return part

    def _tile(self, key: tuple[int, ...], shape: tuple[int, ...], corner: tuple[int, ...]) -> NDArray[np.float32]:
        edges = _tile_edges(len(shape))
        sizes = [min(edge, size - start) for edge, size, start in zip(edges, shape, corner, strict=True)]
        return np.random.default_rng((self._seed, *key)).standard_normal(sizes, dtype=np.float32)


def _tile_edges(ndim: int) -> tuple[int, ...]:
    return ((1,) * ndim + (_EDGE, _EDGE))[-ndim:]


def _tiles(shape: tuple[int, ...], index: Index) -> Iterator[tuple[tuple[int, ...], Index, Index]]:
    """The tiles that a part touches: corner, what is taken of the tile, and its place in the part."""
    axes = [
        [(corner, *_overlap(corner, edge, part)) for corner in range(part.start // edge * edge, part.stop, edge)]
        for part, edge in zip(index, _tile_edges(len(shape)), strict=True)
    ]
    for cell in product(*axes):
        corner, taken, place = zip(*cell, strict=True)
        yield corner, taken, place


def _overlap(corner: int, edge: int, part: slice) -> tuple[slice, slice]:
    start, stop = max(corner, part.start), min(corner + edge, part.stop)
    return slice(start - corner, stop - corner), slice(start - part.start, stop - part.start)
