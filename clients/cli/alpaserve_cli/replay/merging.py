"""What several processes sent, as one replay."""

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alpaserve_cli.replay.ledger import Ledger
from alpaserve_cli.replay.options import ReplayOptions, Share
from alpaserve_cli.replay.outcomes import ReplayResult
from services.core.workload import Workload

_GIVEN = ("model", "arrival_s")


def merged(
    arrivals: Workload, shares: Sequence[Share], results: Sequence[ReplayResult], num_warm_up: int
) -> ReplayResult:
    """The whole workload's result from those of its shares."""
    names = tuple(dict.fromkeys(name for result in results for name in result.group_names))
    num_stages = max(result.stage_begin_s.shape[1] for result in results)
    whole = Ledger(arrivals, ReplayOptions(num_warm_up=num_warm_up)).result()
    blank = np.full((len(arrivals), num_stages), np.nan)
    whole = replace(whole, group_names=names, stage_begin_s=blank, stage_end_s=blank.copy())
    for share, result in zip(shares, results, strict=True):
        renumbered = replace(result, group=_renumbered(result, names))
        for field in fields(ReplayResult):
            part = getattr(renumbered, field.name)
            if isinstance(part, np.ndarray) and field.name not in _GIVEN:
                _put(getattr(whole, field.name)[share.rows], part)
    return whole


def _renumbered(result: ReplayResult, names: Sequence[str]) -> NDArray[np.int32]:
    number = np.array([*(names.index(name) for name in result.group_names), -1], dtype=np.int32)
    return number[result.group]


def _put(rows: NDArray[Any], part: NDArray[Any]) -> None:
    if rows.ndim == 1:
        rows[:] = part
    else:
        rows[:, : part.shape[1]] = part
