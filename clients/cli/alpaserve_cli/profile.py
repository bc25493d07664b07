"""`alpaserve profile`: measure a model on real devices, import, list and show profiles."""

import json
from pathlib import Path
from typing import Annotated

import typer
from alpaserve.v1 import model_pb2, profile_pb2, profiler_pb2
from alpaserve_client import ProfilerClient

from alpaserve_cli.addresses import DEFAULT_PROFILER, ProfilerOption
from alpaserve_cli.files import read_profiles
from alpaserve_cli.output import Output, OutputOption, print_json, print_table, progress_line
from services.core.documents import profiles_document
from services.core.errors import InvalidArgument
from services.core.profile import ParallelConfig, Profiles
from services.infra.wire import config_message, to_profiles, to_stage_profile


def profile(
    model: Annotated[str, typer.Argument(help="A registered model with a source.")] = "",
    config: Annotated[
        list[str] | None, typer.Option("--config", help="Stages x devices per stage, 2x1 say; all that fit if none.")
    ] = None,
    batch_size: Annotated[
        list[int] | None, typer.Option("--batch-size", min=1, help="Examples per execution; 1 if none.")
    ] = None,
    repeats: Annotated[int, typer.Option("--repeats", min=0, help="Timed runs; 0 means the service's default.")] = 0,
    file: Annotated[Path | None, typer.Option("--import", help="Store the profiles of this file.")] = None,
    show_names: Annotated[bool, typer.Option("--list", help="List the stored profiles.")] = False,
    shown: Annotated[str, typer.Option("--show", help="Show this stored profile.")] = "",
    profiler: ProfilerOption = DEFAULT_PROFILER,
    output: OutputOption = Output.TABLE,
) -> None:
    """Measure MODEL under parallel configs; or --import, --list, --show what is stored."""
    if [bool(model), file is not None, show_names, bool(shown)].count(True) != 1:
        raise InvalidArgument("give one of MODEL, --import, --list and --show")
    with ProfilerClient(profiler) as client:
        if file is not None:
            _print_names(_import(client, file), output)
        elif show_names:
            _print_names(client.list_profiles(), output)
        elif shown:
            _print_profiles(to_profiles(client.get_profile(shown)), output)
        else:
            request = profiler_pb2.ProfileRequest(
                model=model,
                configs=[_config(text) for text in config or ()],
                batch_sizes=batch_size or (),
                num_repeats=repeats,
            )
            _print_profiles(_measure(client, request), output)


def _measure(client: ProfilerClient, request: profiler_pb2.ProfileRequest) -> Profiles:
    name = request.model
    with progress_line() as line:
        line.show(f"profiling {request.model} …")
        for num_measured, response in enumerate(client.profile(request), start=1):
            if response.HasField("profile"):
                name = response.profile.name
            else:
                line.show(f"{num_measured} measured, the last {_summary(response.measured)}")
    return to_profiles(client.get_profile(name))


def _summary(measured: profile_pb2.StageProfile) -> str:
    stage = to_stage_profile(measured)
    return f"{stage.config} batch {stage.batch_size}: {sum(stage.stage_latency_s):.4g} s ({stage.source})"


def _import(client: ProfilerClient, path: Path) -> list[str]:
    return client.import_profiles(json.dumps(profiles_document(read_profiles(path))).encode())


def _config(text: str) -> model_pb2.ParallelConfig:
    stages, _, devices = text.partition("x")
    if not (stages.isdecimal() and devices.isdecimal() and int(stages) and int(devices)):
        raise InvalidArgument(f"--config {text!r} is not of the form 2x1")
    return config_message(ParallelConfig(int(stages), int(devices)))


def _print_names(names: list[str], output: Output) -> None:
    if output is Output.JSON:
        print_json({"profiles": names})
    else:
        print("\n".join(names))


def _print_profiles(profiles: Profiles, output: Output) -> None:
    """As JSON a document of schema alpaserve.profiles/v1, a file for --profiles."""
    if output is Output.JSON:
        print_json(profiles_document(profiles))
        return
    for name, found in profiles.models.items():
        rows = (
            (
                str(stage.config),
                stage.batch_size,
                sum(stage.stage_latency_s),
                max(stage.stage_latency_s),
                stage.heaviest_stage_bytes,
                stage.source,
            )
            for stage in found.stages
        )
        header = ("config", "batch size", "latency s", "slowest stage s", "heaviest stage bytes", "source")
        print_table(f"{name} on {profiles.device.kind or 'unnamed devices'}", header, rows)
