"""`alpaserve infer`: one request, from the shell."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from alpaserve_client import Client, InferResult
from numpy.typing import NDArray

from alpaserve_cli.addresses import DEFAULT_ROUTER, RouterOption
from alpaserve_cli.connecting import connection
from alpaserve_cli.inputs import json_array
from alpaserve_cli.output import Output, OutputOption, print_json, print_table
from alpaserve_cli.tokenizing import open_tokenizer
from services.core.errors import InvalidArgument


def infer(
    model: Annotated[str, typer.Argument(help="A registered model.")],
    inputs: Annotated[
        list[str] | None, typer.Option("--input", help="NAME=@FILE.npy or NAME=JSON[:DTYPE]; may be repeated.")
    ] = None,
    text: Annotated[str | None, typer.Option("--text", help="A text to tokenize.")] = None,
    tokenizer: Annotated[
        Path | None, typer.Option("--tokenizer", help="Directory with the tokenizer.json for --text.")
    ] = None,
    slo: Annotated[float | None, typer.Option("--slo", help="Allowed latency in seconds.")] = None,
    timeout: Annotated[float, typer.Option("--timeout", help="Give up after so many seconds.")] = 60.0,
    router: RouterOption = DEFAULT_ROUTER,
    output: OutputOption = Output.TABLE,
) -> None:
    """Run a model on one example."""
    arrays = dict(parse_input(given) for given in inputs or ())
    if text is not None:
        arrays |= tokenize(text, tokenizer)
    with Client(router, connection()) as client:
        try:
            result = client.infer(model, arrays, slo_s=slo, timeout_s=timeout)
        except ValueError as error:
            raise InvalidArgument(str(error)) from None
    if output is Output.JSON:
        print_json(result_document(result))
    else:
        print_result(result)


def parse_input(given: str) -> tuple[str, NDArray[Any]]:
    """A name and its array. Raises: InvalidArgument."""
    name, equals, value = given.partition("=")
    if not (name and equals):
        raise InvalidArgument(f"--input {given!r} is not of the form NAME=VALUE")
    try:
        if value.startswith("@"):
            return name, np.load(value[1:], allow_pickle=False)
        array, dtype = _split_dtype(value)
        return name, json_array(json.loads(array), dtype)
    except (OSError, ValueError, TypeError, EOFError) as error:
        raise InvalidArgument(f"--input {name}: {error}") from None


def _split_dtype(value: str) -> tuple[str, str]:
    """JSON numbers and lists of them hold no colon of their own."""
    array, _, dtype = value.partition(":")
    return array, dtype.strip()


def tokenize(text: str, directory: Path | None) -> Mapping[str, NDArray[Any]]:
    """`input_ids` and `attention_mask`, (length,) int32 each, unpadded. Raises: InvalidArgument."""
    if directory is None:
        raise InvalidArgument("--text needs --tokenizer")
    return open_tokenizer(directory)(text)


def result_document(result: InferResult) -> dict[str, Any]:
    """The answer; elements that are not finite are null, JSON having no words for them."""
    return {
        "request_id": result.request_id,
        "placement_version": result.placement_version,
        "group": result.group,
        "queue_time_s": result.queue_time_s,
        "execution_time_s": result.execution_time_s,
        "predicted_finish_s": result.predicted_finish_s,
        "batch_size": result.batch_size,
        "outputs": {
            name: {"dtype": array.dtype.name, "shape": list(array.shape), "data": _elements(array)}
            for name, array in result.outputs.items()
        },
    }


def _elements(array: NDArray[Any]) -> Any:
    if array.dtype.kind != "f" or np.isfinite(array).all():
        return array.tolist()
    elements = array.astype(object)
    elements[~np.isfinite(array)] = None
    return elements.tolist()


def print_result(result: InferResult) -> None:
    """Print the outputs, abridged, and where the time went."""
    rows = (
        (name, array.dtype.name, list(array.shape), np.array2string(array, threshold=8, edgeitems=3, precision=4))
        for name, array in result.outputs.items()
    )
    print_table(f"{result.request_id} on {result.group}", ("output", "type", "shape", "elements"), rows)
    print(f"queued {result.queue_time_s:.4g} s, ran {result.execution_time_s:.4g} s")
