"""Workloads as `alpaserve workload` makes them: written to a file, or taken as they are."""

import inspect
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from alpaserve_cli.files import read_workload
from alpaserve_cli.output import Output, OutputOption
from alpaserve_cli.workload_changes import resample, scale
from alpaserve_cli.workload_options import OutOption, write
from alpaserve_cli.workload_processes import even, gamma, markov, poisson
from alpaserve_cli.workload_traces import azure_llm, maf1, maf2, servegen
from services.core.errors import InvalidArgument
from services.core.workload import Workload

SOURCE = typer.Option(
    "--workload",
    help="CSV arrival_s,model[,slo_s], .gz or not; or, in quotes, what follows `alpaserve workload`, without --out.",
)
SourceOption = Annotated[str, SOURCE]

MAKERS: Mapping[str, Callable[..., Workload]] = {
    "gamma": gamma,
    "poisson": poisson,
    "even": even,
    "markov": markov,
    "maf1": maf1,
    "maf2": maf2,
    "azure-llm": azure_llm,
    "servegen": servegen,
    "resample": resample,
    "scale": scale,
}
# What a command line that cannot be parsed raises, whether typer took click or its own copy of it.
_Refusal: Any = inspect.getmro(typer.BadParameter)[2]


def written(make: Callable[..., Workload]) -> Callable[..., None]:
    """A command with the options of `make`, and those that say where its workload goes."""

    def command(out: OutOption, output: OutputOption = Output.TABLE, **options: Any) -> None:
        write(make(**options), out, output)

    own = inspect.signature(command).parameters
    parameters = [*inspect.signature(make).parameters.values(), own["out"], own["output"]]
    by_keyword = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in parameters]
    command.__signature__ = inspect.Signature(by_keyword)  # type: ignore[attr-defined]
    command.__annotations__ = {one.name: one.annotation for one in parameters}
    command.__doc__ = make.__doc__
    return command


def read_source(text: str, names: Callable[[], Sequence[str]]) -> Workload:
    """The workload of a file, or the one that the words of an `alpaserve workload` command make.

    Models are those of `names` where a command that needs them names none. Raises: InvalidArgument for words that
    are no such command; what a file that is not well formed raises.
    """
    words = _words(text)
    if not words or words[0] not in MAKERS or Path(text).exists():
        return read_workload(Path(text))
    needs_models = "models" in inspect.signature(MAKERS[words[0]]).parameters
    if needs_models and not any(word.split("=")[0] in ("--models", "--spec") for word in words):
        words += ["--models", ",".join(names())]
    makers = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    for name, make in MAKERS.items():
        makers.command(name)(make)
    try:
        made = makers(words, standalone_mode=False)
    except _Refusal as refusal:
        raise InvalidArgument(f"--workload {text!r}: {refusal.format_message()}") from None
    if not isinstance(made, Workload):
        raise InvalidArgument(f"--workload {text!r} makes no workload")
    return made


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise InvalidArgument(f"--workload {text!r}: {error}") from None
