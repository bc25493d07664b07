"""`alpaserve infer`: one request, from the shell."""

import json
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from time import monotonic
from typing import Annotated, Any

import numpy as np
import typer
from alpaserve_client import Client, InferResult
from numpy.typing import NDArray

from alpaserve_cli.addresses import DEFAULT_ROUTER, RouterOption
from alpaserve_cli.connecting import connection
from alpaserve_cli.hops import Hop, bar, hops_of
from alpaserve_cli.inputs import json_array
from alpaserve_cli.output import Output, OutputOption, print_json, print_table
from alpaserve_cli.own_trace import own_trace
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
    trace: Annotated[bool, typer.Option("--trace", help="Show every hop of the request and its time.")] = False,
    router: RouterOption = DEFAULT_ROUTER,
    output: OutputOption = Output.TABLE,
) -> None:
    """Run a model on one example."""
    arrays = dict(parse_input(given) for given in inputs or ())
    if text is not None:
        arrays |= tokenize(text, tokenizer)
    with Client(router, connection()) as client:
        try:
            if trace:
                client.wait_for_connection(timeout)
            with own_trace("infer") if trace else nullcontext("") as trace_id:
                begun_s = monotonic()
                result = client.infer(model, arrays, slo_s=slo, timeout_s=timeout)
                latency_s = monotonic() - begun_s
        except ValueError as error:
            raise InvalidArgument(str(error)) from None
    hops = hops_of(result, latency_s) if trace else ()
    if output is Output.JSON:
        print_json(result_document(result) | (trace_document(hops, latency_s, trace_id) if trace else {}))
        return
    print_result(result)
    if trace:
        print_trace(hops, latency_s, trace_id)


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
        "stages": [asdict(run) for run in result.stages],
        "group_time_s": result.group_time_s,
        "router_time_s": result.router_time_s,
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


def trace_document(hops: Sequence[Hop], latency_s: float, trace_id: str) -> dict[str, Any]:
    rows = [{"hop": hop.name, "seconds": hop.seconds, "profiled_s": hop.profiled_s} for hop in hops]
    return {"trace_id": trace_id or None, "latency_s": latency_s, "hops": rows}


def print_trace(hops: Sequence[Hop], latency_s: float, trace_id: str) -> None:
    """Print the hops, in the order in which the request first came to them, as a table and as a picture."""
    rows = [(hop.name, hop.seconds, hop.profiled_s, bar(hop, latency_s)) for hop in hops]
    total_s = sum(hop.seconds for hop in hops)
    title = f"trace {trace_id}" if trace_id else "the hops of the request"
    print_table(title, ("hop", "seconds", "profiled", "since it was sent"), [*rows, ("latency", total_s, None, "")])
