"""`alpaserve replay`: how the running system fares under a workload, and how it was predicted to."""

import asyncio
import signal
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop
from alpaserve_client import PlannerClient

from alpaserve_cli.addresses import DEFAULT_PLANNER, DEFAULT_ROUTER
from alpaserve_cli.connecting import connection
from alpaserve_cli.failures import CommandError
from alpaserve_cli.files import read_placement, read_profiles, read_spec, read_workload
from alpaserve_cli.inputs import InputSource, no_inputs, random_tokens, read_json, read_npz
from alpaserve_cli.output import Output, OutputOption, percent, print_json, print_table, progress_line
from alpaserve_cli.replay.options import Progress, ReplayOptions
from alpaserve_cli.replay.outcomes import ReplayResult, summary
from alpaserve_cli.replay.prediction import Prediction
from alpaserve_cli.replay.records import write_records
from alpaserve_cli.replay.sender import OnProgress, Replay
from alpaserve_cli.simulate import PROFILES, SPEC, WorkloadOption
from alpaserve_cli.wire import model_spec
from services.core.errors import InvalidArgument
from services.core.placement import Placement
from services.infra.wire import to_placement

RoutersOption = Annotated[
    list[str] | None, typer.Option("--router", envvar="ALPASERVE_ROUTER", help="A router; may be repeated.")
]
InputsOption = Annotated[
    str, typer.Option("--inputs", help="FILE.npz, one example a row; random (input_ids); or none.")
]
InputsJsonOption = Annotated[
    Path | None, typer.Option("--inputs-json", help="A list of examples, or such lists by model.")
]
SloOption = Annotated[float | None, typer.Option("--slo", help="Seconds, for requests without an SLO in the workload.")]
PlacementOption = Annotated[
    Path | None, typer.Option("--placement", help="Predict for this placement, not the running one.")
]
PlannerOption = Annotated[
    str | None,
    typer.Option("--planner", envvar="ALPASERVE_PLANNER", help="Knows the running placement and the models' SLOs."),
]

RecordsOption = Annotated[
    Path | None, typer.Option("--records", help="Write what became of every request: .csv or .csv.gz.")
]


def replay(
    workload: WorkloadOption,
    router: RoutersOption = None,
    inputs: InputsOption = "random",
    inputs_json: InputsJsonOption = None,
    slo: SloOption = None,
    speed: Annotated[float, typer.Option("--speed", help="2 sends the workload in half its time.")] = 1.0,
    timeout: Annotated[float, typer.Option("--timeout", help="Give a request up after so many seconds.")] = 60.0,
    spec: Annotated[Path | None, SPEC] = None,
    profiles: Annotated[Path | None, PROFILES] = None,
    placement: PlacementOption = None,
    planner: PlannerOption = None,
    records: RecordsOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Send a workload to routers as it would arrive, open loop, and count what came in time.

    Interrupted, it waits for what was sent and reports that. A request's SLO is the workload's,
    else --slo, else the spec's, else the one registered with --planner.
    """
    arrivals = read_workload(workload)
    prediction = _prediction(spec, profiles, placement, planner or DEFAULT_PLANNER)
    try:
        options = ReplayOptions(
            _slo_s(slo, arrivals.names, prediction, planner), speed, timeout, connection=connection()
        )
    except ValueError as error:
        raise InvalidArgument(str(error)) from None
    run = Replay(arrivals, router or [DEFAULT_ROUTER], _inputs(inputs, inputs_json), options)
    try:
        with progress_line() as line:
            result = uvloop.run(_until_interrupted(run, lambda progress: line.show(progress_text(progress))))
    except TimeoutError as error:
        raise CommandError(str(error)) from None
    if records is not None:
        write_records(result, records)
    predicted = asdict(prediction.report(result)) if prediction and result.sent.any() else None
    document = summary(result) | {"predicted": predicted}
    if output is Output.JSON:
        print_json(document)
    else:
        print_replay(document, result)


async def _until_interrupted(run: Replay, on_progress: OnProgress) -> ReplayResult:
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, run.stop)
    return await run.run(on_progress)


def _inputs(inputs: str, inputs_json: Path | None) -> InputSource:
    if inputs_json is not None:
        return read_json(inputs_json)
    if inputs == "random":
        return random_tokens()
    return no_inputs if inputs == "none" else read_npz(Path(inputs))


def _prediction(spec: Path | None, profiles: Path | None, placement: Path | None, planner: str) -> Prediction | None:
    if spec is None and profiles is None and placement is None:
        return None
    if spec is None or profiles is None:
        raise InvalidArgument("a prediction needs --spec and --profiles")
    placed = read_placement(placement) if placement else _running_placement(planner)
    return Prediction(read_spec(spec), read_profiles(profiles), placed)


def _running_placement(planner: str) -> Placement:
    with PlannerClient(planner, connection()) as client:
        return to_placement(client.placement().placement)


def _slo_s(
    slo: float | None, names: tuple[str, ...], prediction: Prediction | None, planner: str | None
) -> Mapping[str, float]:
    if slo is not None:
        return dict.fromkeys(names, slo)
    if prediction is not None:
        return prediction.slo_s()
    return _registered_slo_s(planner) if planner else {}


def _registered_slo_s(planner: str) -> dict[str, float]:
    """Absolute SLOs only: what a scale comes to, the router alone knows."""
    with PlannerClient(planner, connection()) as client:
        specs = [model_spec(model) for model in client.list_models()]
    return {model.name: model.slo_s for model in specs if model.slo_s is not None}


def progress_text(progress: Progress) -> str:
    outcomes = " ".join(f"{name} {count}" for name, count in progress.outcomes.items())
    return f"{progress.elapsed_s:6.1f} s  sent {progress.num_sent}/{progress.num_requests}  {outcomes}"


def print_replay(document: Mapping[str, Any], result: ReplayResult) -> None:
    """Print a row for all requests and one per model, with the prediction if there is one."""
    figures = {"all": document} | {name: document["models"][name] for name in result.names}
    predicted = document["predicted"]
    expected = ({"all": predicted} | predicted["models"]) if predicted else {}
    print_table(
        "Replay",
        ("model", "attainment", *(["predicted"] if predicted else []), "requests", "p50 s", "p99 s"),
        (_row(name, row, expected.get(name)) for name, row in figures.items()),
    )
    print_table(
        "Outcomes",
        ("model", *document["outcomes"]),
        ((name, *row["outcomes"].values()) for name, row in figures.items()),
    )
    delay_s = document["send_delay_s"]
    if delay_s["p99"] is not None:
        print(f"sent late by {delay_s['p50']:.4f} s (p50), {delay_s['p99']:.4f} s (p99)")
    if document["statuses"]:
        print("statuses: " + ", ".join(f"{count} {name}" for name, count in document["statuses"].items()))


def _row(name: str, figures: Mapping[str, Any], predicted: Mapping[str, Any] | None) -> list[Any]:
    expected = [percent(predicted["attainment"])] if predicted else []
    p50, p99 = figures["latency_s"]["p50"], figures["latency_s"]["p99"]
    return [name, percent(figures["attainment"]), *expected, figures["num_requests"], p50, p99]
