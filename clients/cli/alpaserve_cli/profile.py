"""`alpaserve profile`: measure or estimate models, import, list and show profiles."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from alpaserve.v1 import model_pb2, profiler_pb2
from alpaserve_client import ProfilerClient

from alpaserve_cli.addresses import DEFAULT_PROFILER, ProfilerOption
from alpaserve_cli.connecting import connection
from alpaserve_cli.files import read_profiles, read_text
from alpaserve_cli.output import Output, OutputOption, ProgressLine, progress_line
from alpaserve_cli.profile_output import print_names, print_overheads, print_profiles, print_pruned, summary
from services.core.errors import InvalidArgument
from services.core.profile import ParallelConfig, Profiles
from services.core.profile_documents import profiles_document
from services.core.profile_sets import combined
from services.infra.wire import config_message, to_profiles


def profile(
    models: Annotated[list[str] | None, typer.Argument(help="Registered models with a source.")] = None,
    config: Annotated[
        list[str] | None, typer.Option("--config", help="Stages x devices per stage, 2x1 say; all that fit if none.")
    ] = None,
    batch_size: Annotated[
        list[int] | None, typer.Option("--batch-size", min=1, help="Examples per execution; 1 if none.")
    ] = None,
    repeats: Annotated[int, typer.Option("--repeats", min=0, help="Timed runs; 0 means the service's default.")] = 0,
    num_devices: Annotated[
        int,
        typer.Option("--num-devices", min=0, help="Devices of the cluster to profile for; 0 means the service's own."),
    ] = 0,
    device_kind: Annotated[
        str, typer.Option("--device-kind", help="Estimate for this kind of device, v100 say, and measure nothing.")
    ] = "",
    afresh: Annotated[bool, typer.Option("--afresh", help="Measure again what an interrupted order measured.")] = False,
    file: Annotated[Path | None, typer.Option("--import", help="Store the profiles of this file.")] = None,
    alpa_file: Annotated[
        Path | None, typer.Option("--import-alpa", help="Store the profiles of a table that Alpa's benchmark wrote.")
    ] = None,
    show_names: Annotated[bool, typer.Option("--list", help="List the stored profiles.")] = False,
    shown: Annotated[list[str] | None, typer.Option("--show", help="Show this stored profile.")] = None,
    removed: Annotated[str, typer.Option("--remove", help="Forget this profile, which no model costs by.")] = "",
    overheads: Annotated[
        bool, typer.Option("--overheads", help="Print what parallelism costs in place of the profile.")
    ] = False,
    profiler: ProfilerOption = DEFAULT_PROFILER,
    output: OutputOption = Output.TABLE,
) -> None:
    """Profile MODELS under parallel configs; or --import, --import-alpa, --list, --show, --remove profiles."""
    given = [bool(models), file is not None, alpa_file is not None, show_names, bool(shown), bool(removed)]
    if given.count(True) != 1:
        raise InvalidArgument("give one of MODELS, --import, --import-alpa, --list, --show and --remove")
    with ProfilerClient(profiler, connection()) as client:
        if file is not None:
            print_names(_import(client, file), output)
        elif alpa_file is not None:
            print_names(client.import_alpa_table(read_text(alpa_file).encode()), output)
        elif removed:
            client.remove_profile(removed)
            print_names([removed], output)
        elif show_names:
            print_names(client.list_profiles(), output)
        else:
            order = profiler_pb2.ProfileRequest(
                configs=[_config(text) for text in config or ()],
                batch_sizes=batch_size or (),
                num_repeats=repeats,
                num_devices=num_devices,
                device_kind=device_kind,
                afresh=afresh,
            )
            names = shown or [_profile(client, order, model) for model in models or ()]
            (print_overheads if overheads else print_profiles)(_stored(client, names), output)


def _profile(client: ProfilerClient, order: profiler_pb2.ProfileRequest, model: str) -> str:
    """Profile one model; the name of its profile."""
    request, name = profiler_pb2.ProfileRequest(), model
    request.CopyFrom(order)
    request.model = model
    pruned = []
    with progress_line() as line:
        line.show(f"profiling {model} …")
        for number, response in enumerate(client.profile(request), start=1):
            if response.HasField("profile"):
                name = response.profile.name
            elif response.HasField("pruned"):
                pruned.append(response.pruned)
            else:
                _show(line, model, number, response)
    print_pruned(model, pruned)
    return name


def _show(line: ProgressLine, model: str, number: int, response: profiler_pb2.ProfileResponse) -> None:
    line.show(f"{model}: {number} done, the last {summary(response.measured)}")


def _stored(client: ProfilerClient, names: Sequence[str]) -> Profiles:
    return combined([to_profiles(client.get_profile(name)) for name in names])


def _import(client: ProfilerClient, path: Path) -> list[str]:
    return client.import_profiles(json.dumps(profiles_document(read_profiles(path))).encode())


def _config(text: str) -> model_pb2.ParallelConfig:
    stages, _, devices = text.partition("x")
    if not (stages.isdecimal() and devices.isdecimal() and int(stages) and int(devices)):
        raise InvalidArgument(f"--config {text!r} is not of the form 2x1")
    return config_message(ParallelConfig(int(stages), int(devices)))
