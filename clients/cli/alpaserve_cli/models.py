"""`alpaserve models`: the models that may be placed and asked."""

from pathlib import Path
from typing import Annotated, Any

import typer
from alpaserve.v1 import model_pb2, planner_pb2
from alpaserve_client import PlannerClient

from alpaserve_cli.addresses import DEFAULT_PLANNER, PlannerOption
from alpaserve_cli.connecting import connection
from alpaserve_cli.files import read_text
from alpaserve_cli.output import Output, OutputOption, print_json, print_table
from alpaserve_cli.placement import applied_document, print_applied
from alpaserve_cli.wire import model_spec, service_level
from services.core.errors import InvalidArgument
from services.core.model import DTYPES

models_app = typer.Typer(help="Register, list, place, withdraw and remove models.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(help="The name that requests use.")]


@models_app.command()
def add(
    name: NameArgument,
    checkpoint: Annotated[
        Path | None, typer.Option("--checkpoint", help="Directory in the Hugging Face layout, readable by workers.")
    ] = None,
    config: Annotated[
        str | None,
        typer.Option(
            "--config", help="A config.json, or the name of one that workers carry, as bert-1.3b; weights are random."
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of random weights.")] = 0,
    sequence_length: Annotated[
        int, typer.Option("--sequence-length", min=0, help="Tokens requests are padded to; 0 means 128.")
    ] = 0,
    dtype: Annotated[str, typer.Option("--dtype", help=f"What is computed in: {', '.join(DTYPES)}.")] = DTYPES[0],
    slo: Annotated[float | None, typer.Option("--slo", help="Allowed latency in seconds.")] = None,
    slo_scale: Annotated[
        float | None, typer.Option("--slo-scale", help="Allowed latency as a multiple of the single-device one.")
    ] = None,
    profile: Annotated[str, typer.Option("--profile", help="The profile it costs by; by default its own name.")] = "",
    idempotent: Annotated[
        bool, typer.Option(help="Whether a request may be run again when its group went away.")
    ] = True,
    node: Annotated[
        list[int] | None, typer.Option("--node", min=0, help="A node it may lie on; repeatable. By default all.")
    ] = None,
    min_nodes: Annotated[int, typer.Option("--min-nodes", min=1, help="Nodes it stands on at least.")] = 1,
    planner: PlannerOption = DEFAULT_PLANNER,
    output: OutputOption = Output.TABLE,
) -> None:
    """Register a model, or change the SLO or the nodes of a registered one.

    Without --checkpoint and --config only emulated devices can serve it.
    """
    if slo is not None and slo_scale is not None:
        raise InvalidArgument("give --slo or --slo-scale, not both")
    if dtype not in DTYPES:
        raise InvalidArgument(f"--dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")
    source = _source(checkpoint, config, seed)
    if source is not None:
        source.sequence_length, source.dtype = sequence_length, dtype
    model = model_pb2.Model(
        name=name,
        profile=profile,
        source=source,
        service_level=service_level(slo, slo_scale),
        idempotent=idempotent,
        nodes=node or (),
        min_nodes=min_nodes,
    )
    with PlannerClient(planner, connection()) as client:
        stored = client.register_model(model)
    _print_models([stored], output)


@models_app.command("list")
def list_models(planner: PlannerOption = DEFAULT_PLANNER, output: OutputOption = Output.TABLE) -> None:
    """List the registered models."""
    with PlannerClient(planner, connection()) as client:
        registered = client.list_models()
    _print_models(registered, output)


@models_app.command()
def remove(name: NameArgument, planner: PlannerOption = DEFAULT_PLANNER, output: OutputOption = Output.TABLE) -> None:
    """Forget a model that no group holds."""
    with PlannerClient(planner, connection()) as client:
        client.remove_model(name)
    if output is Output.JSON:
        print_json({"removed": name})
    else:
        print(f"removed {name}")


@models_app.command()
def place(name: NameArgument, planner: PlannerOption = DEFAULT_PLANNER, output: OutputOption = Output.TABLE) -> None:
    """Put a model on the running groups, or on free devices, where memory allows; no other model moves."""
    with PlannerClient(planner, connection()) as client:
        applied = client.place_model(name)
    _print_change(applied, f"{name} has its place already", output)


@models_app.command()
def withdraw(name: NameArgument, planner: PlannerOption = DEFAULT_PLANNER, output: OutputOption = Output.TABLE) -> None:
    """Take a model off every group; it stays registered, and no other model moves."""
    with PlannerClient(planner, connection()) as client:
        applied = client.withdraw_model(name)
    _print_change(applied, f"{name} is on no group", output)


def _print_change(applied: planner_pb2.PlacementApplied | None, unchanged: str, output: Output) -> None:
    if output is Output.JSON:
        print_json({"unchanged": unchanged} if applied is None else applied_document(applied))
    elif applied is None:
        print(unchanged)
    else:
        print_applied(applied)


def _source(checkpoint: Path | None, config: str | None, seed: int) -> model_pb2.ModelSource | None:
    if checkpoint is not None and config is not None:
        raise InvalidArgument("give --checkpoint or --config, not both")
    if checkpoint is not None:
        # A path that exists here is meant from here; another one is the workers' business.
        path = checkpoint.resolve() if checkpoint.exists() else checkpoint
        return model_pb2.ModelSource(checkpoint=str(path))
    if config is not None:
        return model_pb2.ModelSource(config_json=_read_config(config), seed=seed)
    return None


def _read_config(config: str) -> str:
    """The text of a file, or the name as it is: the workers know which names there are."""
    path = Path(config)
    is_name = path.name == config and path.suffix != ".json" and not path.exists()
    if is_name:
        return config
    try:
        return read_text(path)
    except InvalidArgument as error:
        raise InvalidArgument(f"{path}: {error}") from None


def _print_models(models: list[model_pb2.Model], output: Output) -> None:
    documents = [model_document(model) for model in models]
    if output is Output.JSON:
        print_json({"models": documents})
        return
    rows = (
        (row["name"], row["profile"], row["slo_s"], row["slo_scale"], row["checkpoint"] or row["config"] or "–")
        for row in documents
    )
    print_table("Models", ("model", "profile", "SLO s", "SLO scale", "source"), rows)


def model_document(model: model_pb2.Model) -> dict[str, Any]:
    """What a person wants to know of a registered model; of a config its name, or only that there is one."""
    spec = model_spec(model)
    kind = model.source.WhichOneof("source")
    config = model.source.config_json
    named = "" if config.lstrip().startswith("{") else f"{config}, "
    return {
        "name": spec.name,
        "profile": spec.profile,
        "slo_s": spec.slo_s,
        "slo_scale": spec.slo_scale,
        "nodes": None if spec.nodes is None else list(spec.nodes),
        "min_nodes": spec.min_nodes,
        "checkpoint": model.source.checkpoint if kind == "checkpoint" else None,
        "config": f"{named}random weights, seed {model.source.seed}" if kind == "config_json" else None,
        "sequence_length": model.source.sequence_length if kind else None,
        "dtype": (model.source.dtype or DTYPES[0]) if kind else None,
        "idempotent": model.idempotent if model.HasField("idempotent") else True,
    }
