"""The load of a replay: a workload from wherever it comes, cut, scaled, ramped, and with the SLOs asked for."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from alpaserve_cli.replay.per_model import PerModel
from alpaserve_cli.workload_options import check_cut, scaled
from alpaserve_cli.workload_sources import read_source
from services.core.errors import InvalidArgument, InvalidWorkload
from services.core.shaping import Ramp, SloMix, dealt_to, with_ramp, with_slo_mix
from services.core.workload import Workload
from services.planner.policies.grid_values import words

ReadT = TypeVar("ReadT")


@dataclass(frozen=True, slots=True)
class Shape:
    """What becomes of a workload, in this order: cut, more or fewer requests, other gaps, faster, on a ramp, SLOs.

    Seconds of the cut are the source's, those of the ramp the replay's.
    """

    begin_s: float = 0.0
    end_s: float = math.inf
    rate_scale: float = 1.0
    cv_scale: float = 1.0
    speed: float = 1.0
    ramp: Ramp | None = None
    slo_mix: Mapping[str, SloMix] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_cut(self.begin_s, self.end_s)
        for option, value in (("--rate-scale", self.rate_scale), ("--speed", self.speed)):
            if not (math.isfinite(value) and value > 0):
                raise InvalidArgument(f"{option} must be positive, got {value!r}")
        if not (math.isfinite(self.cv_scale) and self.cv_scale >= 0):
            raise InvalidArgument(f"--cv-scale must not be negative, got {self.cv_scale!r}")
        if not (math.isfinite(self.begin_s) and self.begin_s >= 0):
            raise InvalidArgument(f"--begin must not be negative, got {self.begin_s!r}")


@dataclass(frozen=True, slots=True)
class Load:
    """A source, cut and with the models that it goes to, and what is made of it."""

    source: Workload
    shape: Shape
    seed: int

    def workload(self, scale: float = 1.0, repeat: int = 0) -> Workload:
        """The requests to send at `scale` times the rate; another `repeat` draws others like them.

        Raises: InvalidWorkload if none is left.
        """
        shape, seed = self.shape, self.seed + repeat
        made = scaled(self.source, shape.rate_scale * scale, shape.cv_scale, 1 / shape.speed, seed)
        if len(made) == 0:
            raise InvalidWorkload("the workload has no request to send")
        if shape.ramp is not None:
            made = with_ramp(made, shape.ramp)
        return with_slo_mix(made, shape.slo_mix, seed)


def read_load(text: str, names: Callable[[], Sequence[str]], models: str | None, shape: Shape, seed: int) -> Load:
    """Raises: InvalidArgument, and what `read_source` raises."""
    receivers = None if models is None else words("--models", models)
    source = read_source(text, names if receivers is None else lambda: receivers)
    if receivers is not None:
        source = dealt_to(source, receivers)
    return Load(source.between(shape.begin_s, shape.end_s), shape, seed)


def num_warm_up(workload: Workload, warm_up_s: float | None, num_requests: int | None) -> int:
    """How many of the first requests warm up.

    Raises: InvalidArgument for both, for what is no duration or number, or if nothing is left to count.
    """
    if warm_up_s is not None and num_requests is not None:
        raise InvalidArgument(f"give --warm-up or --warm-up-requests, not both: {warm_up_s:g} and {num_requests}")
    option, given = ("--warm-up", warm_up_s) if num_requests is None else ("--warm-up-requests", num_requests)
    if given is None:
        return 0
    if not (math.isfinite(given) and given >= 0):
        raise InvalidArgument(f"{option} must not be negative, got {given!r}")
    begin_s = workload.arrival_s[0]
    chosen = num_requests if num_requests is not None else int(np.searchsorted(workload.arrival_s, begin_s + given))
    if chosen >= len(workload):
        raise InvalidArgument(f"{option} {given:g} leaves none of {len(workload)} requests to count")
    return chosen


def parse_ramp(text: str | None) -> Ramp | None:
    """`0:0.5,60:2`. Raises: InvalidArgument."""
    if text is None:
        return None
    at_s, multiplier = _pairs("--ramp", text, "SECONDS:MULTIPLIER", float)
    return _made("--ramp", text, lambda: Ramp(tuple(at_s), tuple(multiplier)))


def parse_slo_mix(
    values: Sequence[str], names: Sequence[str], slo_s: Callable[[str, float], float]
) -> dict[str, SloMix]:
    """Every model's mix of `[MODEL=]SHARE:SLO,…`; an SLO of `5x` is what `slo_s` says of a model and that scale.

    Raises: InvalidArgument.
    """
    option = "--slo-mix"
    asked = PerModel.of(option, values)
    asked.check(option, names)
    mixes = {}
    for name in names:
        text = asked.text_for(name)
        if text is not None:
            mixes[name] = _mix(option, text, name, slo_s)
    return mixes


def _mix(option: str, text: str, name: str, slo_s: Callable[[str, float], float]) -> SloMix:
    def seconds(part: str) -> float:
        return slo_s(name, float(part[:-1])) if part.endswith("x") else float(part)

    share, slo = _pairs(option, text, "SHARE:SECONDS or SHARE:SCALEx", seconds)
    return _made(option, text, lambda: SloMix(tuple(share), tuple(slo)))


def _pairs(option: str, text: str, form: str, second: Callable[[str], float]) -> tuple[list[float], list[float]]:
    firsts, seconds = [], []
    for part in text.split(","):
        before, _, after = part.strip().partition(":")
        try:
            firsts.append(float(before))
            seconds.append(second(after))
        except ValueError:
            raise InvalidArgument(f"{option} must be {form}, separated by commas, got {text!r}") from None
    return firsts, seconds


def _made(option: str, text: str, make: Callable[[], ReadT]) -> ReadT:
    try:
        return make()
    except InvalidWorkload as error:
        raise InvalidArgument(f"{option} {text!r}: {error}") from None
