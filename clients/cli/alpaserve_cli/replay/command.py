"""`alpaserve replay`: how the running system fares under a workload, and how it was predicted to."""

import math
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from alpaserve_cli.addresses import DEFAULT_ROUTER
from alpaserve_cli.connecting import connection
from alpaserve_cli.output import Output, OutputOption, print_json
from alpaserve_cli.replay import command_options as given
from alpaserve_cli.replay.find_rate import Probe, Question, RateFinder
from alpaserve_cli.replay.input_options import input_source
from alpaserve_cli.replay.live import ProgressStyle, showing
from alpaserve_cli.replay.load import Load, Shape, num_warm_up, parse_ramp, parse_slo_mix, read_load
from alpaserve_cli.replay.once import Wanted, replay_once
from alpaserve_cli.replay.options import ReplayOptions
from alpaserve_cli.replay.prediction import Prediction
from alpaserve_cli.replay.printing import print_rate, probe_text, rate_document
from alpaserve_cli.replay.running import Runner
from alpaserve_cli.replay.surroundings import model_names, model_slo_s, read_prediction, scaled_slo
from alpaserve_cli.search_options import NOT_REACHED
from alpaserve_cli.simulate import PROFILES, SPEC
from alpaserve_cli.workload_options import BeginOption, CvScaleOption, EndOption, RateScaleOption, SeedOption
from alpaserve_cli.workload_sources import SourceOption
from services.core.errors import InvalidArgument
from services.core.workload import Workload


def replay(
    workload: SourceOption,
    router: given.RoutersOption = None,
    models: given.ModelsOption = None,
    begin: BeginOption = 0.0,
    end: EndOption = math.inf,
    rate_scale: RateScaleOption = 1.0,
    cv_scale: CvScaleOption = 1.0,
    speed: given.SpeedOption = 1.0,
    ramp: given.RampOption = None,
    slo: given.SloOption = None,
    slo_mix: given.SloMixOption = None,
    seed: SeedOption = 0,
    inputs: given.InputsOption = None,
    inputs_json: given.InputsJsonOption = None,
    tokenizer: given.TokenizerOption = None,
    warm_up: given.WarmUpOption = None,
    warm_up_requests: given.WarmUpRequestsOption = None,
    processes: given.ProcessesOption = 1,
    timeout: given.TimeoutOption = 60.0,
    spec: Annotated[Path | None, SPEC] = None,
    profiles: Annotated[Path | None, PROFILES] = None,
    placement: given.PlacementOption = None,
    planner: given.PlannerOption = None,
    records: given.RecordsOption = None,
    report: given.ReportOption = None,
    expect_attainment: given.ExpectOption = None,
    find_rate: given.FindRateOption = None,
    tolerance: given.ToleranceOption = 0.05,
    settle: given.SettleOption = 1.0,
    repeats: given.RepeatsOption = 3,
    progress: given.ProgressOption = ProgressStyle.AUTO,
    output: OutputOption = Output.TABLE,
) -> None:
    """Send a workload to routers as it would arrive, open loop, and count what came in time.

    Latency counts from the arrival that was meant, however late it was sent. Interrupted, it waits for what was
    sent and reports that. A request's SLO is that of --slo-mix, the workload's, --slo, the spec's, or the one
    registered with --planner. With --find-rate it looks for the highest rate instead; exit code 3 if none attains.
    """
    prediction = read_prediction(spec, profiles, placement, planner)
    shape = Shape(begin, end, rate_scale, cv_scale, speed, parse_ramp(ramp))
    load = read_load(workload, lambda: model_names(prediction, planner), models, shape, seed)
    names = load.source.names
    load = replace(load, shape=replace(shape, slo_mix=parse_slo_mix(slo_mix or (), names, scaled_slo(prediction))))
    runner = Runner(
        routers=router or [DEFAULT_ROUTER],
        inputs=input_source(inputs or (), inputs_json, tokenizer or (), seed),
        options=_options(timeout, model_slo_s(slo, names, prediction, planner)),
        num_processes=processes,
    )

    def warm_up_of(sent: Workload) -> int:
        return num_warm_up(sent, warm_up, warm_up_requests)

    wanted = Wanted(workload, records, report, expect_attainment)
    wanted.check(prediction, is_search=find_rate is not None)
    if find_rate is not None:
        question = Question(find_rate, tolerance, settle, repeats, warm_up_of)
        attained = _find_rate(load, runner, question, prediction, progress, output)
    else:
        requests = load.workload()
        attained = replay_once(requests, warm_up_of(requests), runner, wanted, prediction, progress, output)
    if not attained:
        raise typer.Exit(NOT_REACHED)


def _find_rate(
    load: Load,
    runner: Runner,
    question: Question,
    prediction: Prediction | None,
    progress: ProgressStyle,
    output: Output,
) -> bool:
    """Whether any rate attains the target."""

    def tell(probe: Probe) -> None:
        print(probe_text(probe), file=sys.stderr if output is Output.JSON else sys.stdout, flush=True)

    with showing(progress) as show:
        finder = RateFinder(load, runner, question, prediction, tell, show)
        found = finder.run()
    predicted = finder.predicted_rate() if prediction else None
    document = rate_document(found, question.target, predicted)
    if output is Output.JSON:
        print_json(document)
    else:
        print_rate(document, runner.num_processes)
    return found.best is not None


def _options(timeout_s: float, slo_s: Mapping[str, float]) -> ReplayOptions:
    if not (math.isfinite(timeout_s) and timeout_s > 0):
        raise InvalidArgument(f"--timeout must be positive, got {timeout_s!r}")
    return ReplayOptions(slo_s=slo_s, timeout_s=timeout_s, connection=connection())
