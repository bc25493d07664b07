"""Whether traffic still is what a plan assumed: a statistical test of all models' rates and CVs.

Counts of bursty arrivals vary by more than their mean, by the index of dispersion CV²; twice the
difference of their square roots, over the CV, is near to standard normal whatever the rate.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtrc, ndtr

from services.planner.controllers.observation import Observation

# Below, the normal approximation of a count is too coarse to hold a model's own test.
_FEWEST_REQUESTS = 5.0
_FEWEST_GAPS = 20


@dataclass(frozen=True, slots=True, eq=False)
class Assumed:
    """What a plan was made for: `rates_per_s` and `cv` of gaps, (num_models,) each, estimated from
    `span_s` of traffic; an infinite span is certainty."""

    rates_per_s: NDArray[np.float64]
    cv: NDArray[np.float64]
    span_s: float

    @classmethod
    def of(cls, observation: Observation) -> "Assumed":
        """The recent traffic as it was seen."""
        recent = observation.recent
        return cls(recent.rates_per_s, observation.gap_cvs(), recent.span_s)


@dataclass(frozen=True, slots=True)
class Drift:
    """The probability that traffic as assumed differs so much by chance, by three tests together, and
    where it differs most."""

    p_value: float
    model: str
    assumed_per_s: float
    observed_per_s: float
    kind: str

    @property
    def text(self) -> str:
        rates = f"{self.assumed_per_s:.3g} requests/s assumed, {self.observed_per_s:.3g} observed"
        return f"{self.kind} differ (p = {self.p_value:.2g}), most of {self.model}: {rates}"


def drift(assumed: Assumed, observation: Observation) -> Drift:
    """Test the recent traffic against what was assumed.

    The rates of all models together, the rate of the model that differs most, and the CVs of all: the
    smallest of the three probabilities, times three.
    """
    seen = Assumed.of(observation)
    # Neither estimate of a CV is certain, and a rate that moved makes the new one larger.
    cv = np.maximum(np.maximum(assumed.cv, np.minimum(seen.cv, 2 * assumed.cv)), 1.0)
    by_rate = _rate_scores(assumed, seen, cv)
    by_cv = _cv_scores(assumed, seen)
    num_models = len(by_rate)
    most = float(np.abs(by_rate).max(initial=0.0))
    p_values = {
        "rates": float(chdtrc(num_models, by_rate @ by_rate)),
        "a rate": min(float(2 * ndtr(-most)) * num_models, 1.0),
        "CVs": float(chdtrc(max(int(np.count_nonzero(by_cv)), 1), by_cv @ by_cv)),
    }
    kind = min(p_values, key=lambda name: p_values[name])
    worst = int(np.abs(by_cv if kind == "CVs" else by_rate).argmax())
    return Drift(
        p_value=min(3 * p_values[kind], 1.0),
        model=observation.names[worst],
        assumed_per_s=float(assumed.rates_per_s[worst]),
        observed_per_s=float(seen.rates_per_s[worst]),
        kind=kind,
    )


def _rate_scores(assumed: Assumed, seen: Assumed, cv: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standard normal if nothing changed, (num_models,); near 0 where there is too little to tell."""
    expected = assumed.rates_per_s * seen.span_s
    found = seen.rates_per_s * seen.span_s
    difference = 2 * (np.sqrt(found + 0.375) - np.sqrt(expected + 0.375))
    # What was assumed is an estimate as well, of a span of its own.
    deviation = cv * math.sqrt(1 + (0.0 if math.isinf(assumed.span_s) else seen.span_s / assumed.span_s))
    is_telling = np.maximum(expected, found) >= _FEWEST_REQUESTS
    scores: NDArray[np.float64] = np.where(is_telling, difference / deviation, 0.0)
    return scores


def _cv_scores(assumed: Assumed, seen: Assumed) -> NDArray[np.float64]:
    """The same of the logarithms of CVs, whose variance is that of a Gamma's gaps."""
    variances = []
    for own in (assumed, seen):
        num_gaps = np.maximum(own.rates_per_s * (seen.span_s if math.isinf(own.span_s) else own.span_s) - 1, 0)
        variances.append((0.5 + 2.5 * own.cv**2) / np.maximum(num_gaps, 1))
    num_seen = seen.rates_per_s * seen.span_s
    is_telling = (num_seen > _FEWEST_GAPS) & (seen.cv > 0) & (assumed.cv > 0)
    ratio = np.log(np.where(is_telling, seen.cv, 1.0) / np.where(is_telling, assumed.cv, 1.0))
    scores: NDArray[np.float64] = np.where(is_telling, ratio / np.sqrt(sum(variances)), 0.0)
    return scores
