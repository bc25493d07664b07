"""What the `alpaserve workload` commands have in common: their options, and how a workload is written."""

import math
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from alpaserve_cli.files import read_spec, read_workload, writing
from alpaserve_cli.output import Output, print_json
from services.core.arrivals import power_law_rates, weighted_rates
from services.core.burstiness import with_cv_scale
from services.core.errors import InvalidArgument, InvalidWorkload
from services.core.workload import Workload, write_workload

# More would not fit the memory of the machines that plan with them.
MAX_REQUESTS = 50_000_000

OutOption = Annotated[Path, typer.Option("--out", help="The workload to write: .csv or .csv.gz.")]
SpecOption = Annotated[Path | None, typer.Option("--spec", help="Take the models of this alpaserve.spec/v1.")]
ModelsOption = Annotated[str | None, typer.Option("--models", help="Names of the models, separated by commas.")]
RateOption = Annotated[float, typer.Option("--rate", help="Requests per second of all models together.")]
SplitOption = Annotated[
    float, typer.Option("--split", help="Rates fall like (i + 1) to this power; 0 is even, the paper's -0.5.")
]
WeightsOption = Annotated[
    str | None, typer.Option("--weights", help="Instead of --split: each model's share, separated by commas.")
]
LikeOption = Annotated[
    Path | None, typer.Option("--like", help="Instead of --split: shares as the models have in this workload.")
]
DurationOption = Annotated[float, typer.Option("--duration", help="Seconds of arrivals.")]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="The same seed draws the same arrivals.")]
BeginOption = Annotated[float, typer.Option("--begin", min=0, help="First second of the source to take.")]
EndOption = Annotated[float, typer.Option("--end", help="Second of the source to stop before; its end by default.")]
RateScaleOption = Annotated[float, typer.Option("--rate-scale", help="Requests per request of the source.")]
CvScaleOption = Annotated[float, typer.Option("--cv-scale", help="Multiplies the variation of the gaps.")]
TimeScaleOption = Annotated[float, typer.Option("--time-scale", help="Multiplies every arrival time, at the end.")]


def model_names(spec: Path | None, models: str | None) -> list[str]:
    """Raises: InvalidArgument unless there is one source of distinct names."""
    if (spec is None) == (models is None):
        raise InvalidArgument("give --spec or --models")
    if spec is not None:
        return [model.name for model in read_spec(spec).models]
    names = [name.strip() for name in (models or "").split(",")]
    if "" in names or len(set(names)) < len(names):
        raise InvalidArgument(f"--models must be distinct names, got {models!r}")
    return names


def model_rates(
    names: list[str], rate: float, split: float, weights: str | None, like: Path | None
) -> dict[str, float]:
    """Each model's requests per second."""
    if weights is not None and like is not None:
        raise InvalidArgument("give --weights or --like, not both")
    if weights is not None:
        rates = weighted_rates(rate, model_weights(names, weights))
    elif like is not None:
        rates = weighted_rates(rate, read_workload(like).aligned(names).num_requests_of)
    else:
        rates = power_law_rates(rate, len(names), split)
    return dict(zip(names, rates.tolist(), strict=True))


def model_weights(names: list[str], text: str) -> NDArray[np.float64]:
    """Raises: InvalidArgument for anything but a number per model."""
    try:
        weights = np.array([float(part) for part in text.split(",")])
    except ValueError:
        raise InvalidArgument(f"--weights must be numbers, got {text!r}") from None
    if len(weights) != len(names):
        raise InvalidArgument(f"--weights has {len(weights)} numbers for {len(names)} models: {text!r}")
    return weights


def check_size(num_expected: float) -> None:
    """Raises: InvalidArgument before memory runs out."""
    if not num_expected <= MAX_REQUESTS:
        raise InvalidArgument(f"{num_expected:g} requests are too many; at most {MAX_REQUESTS}")


def check_cut(begin_s: float, end_s: float) -> None:
    if not begin_s < end_s:
        raise InvalidArgument(f"--end must come after --begin, got {begin_s:g} and {end_s:g}")


def scaled(workload: Workload, rate_scale: float, cv_scale: float, time_scale: float, seed: int) -> Workload:
    """The workload with more or fewer requests, then burstier or smoother, then faster or slower."""
    if math.isfinite(rate_scale):
        check_size(len(workload) * rate_scale)
    if rate_scale != 1:
        workload = workload.with_rate_scale(rate_scale, seed)
    if cv_scale != 1:
        workload = with_cv_scale(workload, cv_scale)
    return workload if time_scale == 1 else workload.with_time_scale(time_scale)


def write(workload: Workload, out: Path, output: Output) -> None:
    """Write a workload and say what it is. Raises: InvalidArgument for a path that cannot be written."""
    if len(workload) == 0:
        raise InvalidWorkload("no request is left to write")
    with writing(out) as text:
        write_workload(workload, text)
    num_models = int(np.count_nonzero(workload.num_requests_of))
    if output is Output.JSON:
        print_json(
            {"out": str(out), "num_requests": len(workload), "num_models": num_models, "span_s": workload.span_s}
        )
    else:
        print(f"{out}: {len(workload)} requests of {num_models} models over {workload.span_s:.6g} s")
