"""Simulation in this process: a placement, with or without batching, or windows that replace each other."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from alpaserve_cli.files import read_document, read_placement
from alpaserve_cli.simulate_options import SimulateOptions
from services.core.attainment import Report, report
from services.core.batched_simulator import Batching, simulate_as_placed
from services.core.documents import parse_placement
from services.core.errors import AlpaServeError, InvalidArgument
from services.core.placement import Placement
from services.core.problem import Problem
from services.core.simulator import serve_once
from services.core.timeline import report_timeline, simulate_timeline
from services.core.timeline_documents import has_windows, parse_timeline


def simulate_file(problem: Problem, path: Path, options: SimulateOptions) -> Report:
    """Simulate what a placement file describes.

    Raises: what a file that is not well formed raises, InvalidArgument for options that do not go with
    it; InvalidPlacement, UnknownProfile or DoesNotFit if the placement cannot be.
    """
    placement = read_placement(path)
    document = read_windows(path)
    if document is not None:
        return simulate_windows(problem, path, document, options)
    if options.load_bytes_per_s is not None:
        raise InvalidArgument(f"--load-bytes-per-s is for windows, and {path} has none")
    chosen = placement if options.dispatch is None else replace(placement, dispatch=options.dispatch)
    return simulate_placement(problem, chosen, options.batching)


def read_windows(path: Path) -> Mapping[str, Any] | None:
    """The document of a placement with windows, None of any other."""
    document = read_document(path)
    return document if isinstance(document, Mapping) and has_windows(document) else None


def simulate_windows(problem: Problem, path: Path, document: Mapping[str, Any], options: SimulateOptions) -> Report:
    """Raises: as `simulate_file`."""
    if options.batching is not None or parse_placement(document).max_batch_size > 1:
        raise InvalidArgument(f"{path} has windows, which are simulated without batching")
    dispatch = {} if options.dispatch is None else {"dispatch": options.dispatch}
    try:
        timeline = parse_timeline({**document, **dispatch})
    except AlpaServeError as error:
        raise type(error)(f"{path}: {error}") from None
    outcome = simulate_timeline(problem, timeline, options.load_bytes_per_s, serve_once(problem.num_requests))
    return report_timeline(problem, timeline, outcome)


def simulate_placement(
    problem: Problem, placement: Placement, batching: Batching | None = None, num_warm_up: int = 0
) -> Report:
    """What a placement attains; without `batching` in the batches that it allows. The first `num_warm_up` requests
    are not counted.

    Raises: InvalidPlacement, UnknownProfile or DoesNotFit if the placement cannot be.
    """
    return report(problem, placement, simulate_as_placed(problem, placement, batching), num_warm_up)
