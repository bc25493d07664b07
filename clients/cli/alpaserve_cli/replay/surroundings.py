"""What a replay takes from elsewhere: the models, their SLOs and the placement of files or of the running system."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from alpaserve_client import PlannerClient

from alpaserve_cli.addresses import DEFAULT_PLANNER
from alpaserve_cli.connecting import connection
from alpaserve_cli.files import read_placement, read_profiles, read_spec
from alpaserve_cli.replay.prediction import Prediction
from alpaserve_cli.wire import model_spec
from services.core.errors import InvalidArgument
from services.core.spec import ModelSpec
from services.infra.wire import to_placement


def read_prediction(
    spec: Path | None, profiles: Path | None, placement: Path | None, planner: str | None
) -> Prediction | None:
    """None if no file is given. Raises: InvalidArgument for some without the others, what the files raise."""
    if spec is None and profiles is None and placement is None:
        return None
    if spec is None or profiles is None:
        raise InvalidArgument("a prediction needs --spec and --profiles")
    described, measured = read_spec(spec), read_profiles(profiles)
    if placement is not None:
        return Prediction(described, measured, read_placement(placement))
    with PlannerClient(planner or DEFAULT_PLANNER, connection()) as client:
        running = client.placement().placement
    return Prediction(described, measured, to_placement(running), tuple(group.name for group in running.groups))


def model_names(prediction: Prediction | None, planner: str | None) -> Sequence[str]:
    """The models that there are. Raises: InvalidArgument if nothing tells."""
    if prediction is not None:
        return prediction.spec.names
    if planner is None:
        raise InvalidArgument("--workload names no models: give --models, --spec and --profiles, or --planner")
    names = [model.name for model in _registered(planner)]
    if not names:
        raise InvalidArgument(f"--workload names no models, and {planner} knows none")
    return names


def model_slo_s(
    slo_s: float | None, names: Sequence[str], prediction: Prediction | None, planner: str | None
) -> Mapping[str, float]:
    """What goes with requests that bring no SLO: the one given, else the spec's, else the registered one."""
    if slo_s is not None:
        if not 0 < slo_s < float("inf"):
            raise InvalidArgument(f"--slo must be positive, got {slo_s!r}")
        return dict.fromkeys(names, slo_s)
    if prediction is not None:
        return prediction.slo_s()
    # Absolute SLOs only: what a scale comes to, the router alone knows.
    return {model.name: model.slo_s for model in _registered(planner) if model.slo_s is not None} if planner else {}


def scaled_slo(prediction: Prediction | None) -> Callable[[str, float], float]:
    """What a scale of a model's latency comes to. Raises, when asked: InvalidArgument without a prediction."""

    def slo_s(name: str, scale: float) -> float:
        if prediction is None:
            raise InvalidArgument(f"--slo-mix {scale:g}x of model {name!r} needs --spec and --profiles")
        model = prediction.spec.models[prediction.spec.names.index(name)]
        return replace(model, slo_s=None, slo_scale=scale).slo(prediction.profiles)

    return slo_s


def _registered(planner: str) -> list[ModelSpec]:
    with PlannerClient(planner, connection()) as client:
        return [model_spec(model) for model in client.list_models()]
