"""The options of `alpaserve replay`."""

from pathlib import Path
from typing import Annotated

import typer

from alpaserve_cli.replay.input_options import INPUTS_HELP
from alpaserve_cli.replay.live import ProgressStyle

RoutersOption = Annotated[
    list[str] | None, typer.Option("--router", envvar="ALPASERVE_ROUTER", help="A router; may be repeated.")
]
ModelsOption = Annotated[
    str | None,
    typer.Option("--models", help="Models to send to, separated by commas: those of a file are dealt to them in turn."),
]
InputsOption = Annotated[list[str] | None, typer.Option("--inputs", help=INPUTS_HELP)]
InputsJsonOption = Annotated[
    Path | None, typer.Option("--inputs-json", help="A list of examples, or such lists by model.")
]
TokenizerOption = Annotated[
    list[str] | None,
    typer.Option("--tokenizer", help="[MODEL=]DIR with the tokenizer.json for texts; repeatable."),
]
SloOption = Annotated[float | None, typer.Option("--slo", help="Seconds, for requests without an SLO in the workload.")]
SloMixOption = Annotated[
    list[str] | None,
    typer.Option(
        "--slo-mix",
        help="[MODEL=]SHARE:SLO,… repeatable: 0.1:0.5,0.9:2 in seconds, or 0.1:2x,0.9:10x times the model's latency "
        "(with --spec and --profiles). The rest keeps its SLO.",
    ),
]
SpeedOption = Annotated[float, typer.Option("--speed", help="2 sends the workload in half its time.")]
RampOption = Annotated[
    str | None,
    typer.Option(
        "--ramp", help="SECONDS:MULTIPLIER,… of the rate, linear between: 0:0.5,60:2. Requests move, bursts stay."
    ),
]
WarmUpOption = Annotated[
    float | None, typer.Option("--warm-up", help="Send the first so many seconds without counting them.")
]
WarmUpRequestsOption = Annotated[
    int | None, typer.Option("--warm-up-requests", help="Send the first so many requests without counting them.")
]
ProcessesOption = Annotated[int, typer.Option("--processes", help="Processes that send, each a share of the requests.")]
TimeoutOption = Annotated[float, typer.Option("--timeout", help="Give a request up after so many seconds.")]
PlacementOption = Annotated[
    Path | None, typer.Option("--placement", help="Predict for this placement, not the running one.")
]
PlannerOption = Annotated[
    str | None,
    typer.Option("--planner", envvar="ALPASERVE_PLANNER", help="Knows the running placement, the models, their SLOs."),
]
RecordsOption = Annotated[
    Path | None, typer.Option("--records", help="Write what became of every request: .csv or .csv.gz.")
]
ReportOption = Annotated[
    Path | None, typer.Option("--report", help="Write measured beside predicted as one HTML file.")
]
ExpectOption = Annotated[
    float | None,
    typer.Option("--expect-attainment", help="Exit with 3 unless this share of the requests was served in time."),
]
FindRateOption = Annotated[
    float | None,
    typer.Option("--find-rate", help="Find the highest rate at which this share of the requests is served in time."),
]
ToleranceOption = Annotated[
    float, typer.Option("--tolerance", help="With --find-rate: bisect until the rates differ by this share.")
]
SettleOption = Annotated[
    float, typer.Option("--settle", help="With --find-rate: seconds of rest once everything is answered.")
]
RepeatsOption = Annotated[
    int, typer.Option("--repeats", help="With --find-rate: send what is not clear yet so many times at most.")
]
ProgressOption = Annotated[
    ProgressStyle, typer.Option("--progress", help="On stderr: bars on a terminal, a JSON document a line, or none.")
]
