"""`alpaserve report`: a placement under a workload, predicted and as a replay measured it, as one HTML file."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from alpaserve_cli.files import read_document, read_lines, read_placement, read_profiles, read_spec, read_workload
from alpaserve_cli.output import Output, OutputOption, print_json
from alpaserve_cli.simulate import PROFILES, SPEC, WORKLOAD
from alpaserve_cli.simulate_here import read_windows
from services.core.errors import InvalidArgument
from services.core.problem import pose
from services.core.records import Record, parse_records
from services.core.workload import Workload
from services.pages.placement_picture import Labels
from services.pages.reports import Framing, Part, PlanFacts, replay_report

PlacementOption = Annotated[
    Path, typer.Option("--placement", help="Groups and replicas (alpaserve.placement/v1), or what `plan` printed.")
]
RecordsOption = Annotated[
    Path | None, typer.Option("--records", help="What `alpaserve replay --records` wrote, .gz or not.")
]


def report(
    spec: Annotated[Path, SPEC],
    profiles: Annotated[Path, PROFILES],
    placement: PlacementOption,
    out: Annotated[Path, typer.Option("--out", help="The HTML file to write.")],
    workload: Annotated[Path | None, WORKLOAD] = None,
    records: RecordsOption = None,
    title: Annotated[str, typer.Option("--title", help="What it is headed with.")] = "",
    begin: Annotated[float | None, typer.Option("--begin", min=0, help="Where timelines begin, in seconds.")] = None,
    length: Annotated[float | None, typer.Option("--length", help="How many seconds timelines show.")] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Write a placement under a workload as one HTML file, which needs nothing beside it.

    With --records measured figures stand beside the predicted ones; the workload is by default what they record.
    """
    if length is not None and not length > 0:
        raise InvalidArgument(f"--length must be positive, got {length:g}")
    if read_windows(placement) is not None:
        raise InvalidArgument(f"{placement} has windows that replace each other; a report is of one placement")
    recorded = None if records is None else read_lines(records, parse_records)
    if workload is not None:
        requests = read_workload(workload)
    elif recorded is not None:
        requests = recorded_workload(recorded)
    else:
        raise InvalidArgument("give --workload, --records or both")
    document = read_document(placement)
    problem = pose(read_spec(spec), read_profiles(profiles), requests)
    framing = Framing(
        title=title or f"{placement.name} under {(workload or records or placement).name}",
        made_at=made_at(),
        plan=plan_facts(document),
        labels=Labels(group_names(document)),
        part=Part(begin, length),
    )
    write_page(replay_report(problem, read_placement(placement), framing, recorded), out)
    if output is Output.JSON:
        print_json({"out": str(out)})


def made_at() -> str:
    """Now, in words."""
    return datetime.now().astimezone().strftime("%d %B %Y, %H:%M")


def write_page(page: str, out: Path) -> None:
    """Raises: InvalidArgument for a file that cannot be written."""
    try:
        out.write_text(page, encoding="utf-8")
    except OSError as error:
        raise InvalidArgument(f"{out}: {error.strerror or error}") from None


def recorded_workload(records: Sequence[Record]) -> Workload:
    """The requests that records are of, in order of arrival."""
    names = tuple(dict.fromkeys(record.model for record in records))
    ordered = sorted(records, key=lambda record: record.arrival_s)
    return Workload(
        np.array([record.arrival_s for record in ordered], dtype=np.float64),
        np.array([names.index(record.model) for record in ordered], dtype=np.int32),
        np.array([record.slo_s if np.isfinite(record.slo_s) else np.nan for record in ordered], dtype=np.float64),
        names,
    )


def group_names(document: object) -> tuple[str, ...]:
    """What a running system calls its groups, as `alpaserve placement` tells; empty if it does not of all."""
    groups = document.get("groups") if isinstance(document, Mapping) else None
    names = [group.get("name") for group in groups] if isinstance(groups, list) else []
    return tuple(map(str, names)) if all(names) else ()


def plan_facts(document: object) -> PlanFacts:
    """What `alpaserve plan` says beside the placement; what is not there, or not as it says it, is left out."""
    if not isinstance(document, Mapping):
        return PlanFacts()
    unplaced = document.get("unplaced")
    return PlanFacts(
        policy=str(document.get("policy") or ""),
        upper_bound=_number(document, "upper_bound"),
        held_out_attainment=_number(document, "held_out_attainment"),
        search_s=_number(document, "search_s"),
        num_simulations=None if (count := _number(document, "num_simulations")) is None else int(count),
        unplaced=tuple(
            (str(row.get("model", "")), str(row.get("reason", "")))
            for row in (unplaced if isinstance(unplaced, list) else ())
            if isinstance(row, Mapping)
        ),
    )


def _number(document: Mapping[str, Any], key: str) -> float | None:
    value = document.get(key)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
