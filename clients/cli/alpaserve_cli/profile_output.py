"""How profiles and what parallelism costs in them are printed."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from alpaserve.v1 import profile_pb2, profiler_pb2

from alpaserve_cli.output import Output, percent, print_json, print_table
from services.core.overheads import overheads
from services.core.profile import ModelProfile, Profiles
from services.core.profile_documents import profiles_document
from services.infra.wire import to_config, to_stage_profile


def summary(measured: profile_pb2.StageProfile) -> str:
    stage = to_stage_profile(measured)
    return f"{stage.config} batch {stage.batch_size}: {stage.latency_s:.4g} s ({stage.source})"


def print_names(names: list[str], output: Output) -> None:
    if output is Output.JSON:
        print_json({"profiles": names})
    else:
        print("\n".join(names))


def print_pruned(model: str, pruned: Iterable[profiler_pb2.Pruned]) -> None:
    """To stderr: it is no part of what is stored."""
    for one in pruned:
        print(f"{model}: {to_config(one.config)} is left out: {one.reason}", file=sys.stderr)


def print_profiles(profiles: Profiles, output: Output) -> None:
    """As JSON a document of schema alpaserve.profiles/v1, a file for --profiles; as tables with overheads beside."""
    if output is Output.JSON:
        print_json(profiles_document(profiles))
        return
    for name, found in profiles.models.items():
        rows = (
            (
                str(stage.config),
                stage.batch_size,
                stage.latency_s,
                max(stage.stage_latency_s),
                stage.heaviest_stage_bytes,
                stage.source,
            )
            for stage in found.stages
        )
        header = ("config", "batch size", "latency s", "slowest stage s", "heaviest stage bytes", "source")
        print_table(f"{name} on {profiles.device.kind or 'unnamed devices'}", header, rows)
    print_overheads(profiles, output)


def print_overheads(profiles: Profiles, output: Output) -> None:
    """What parallelism costs, split as the paper splits it; None in JSON where the profile cannot tell."""
    if output is Output.JSON:
        rows = (row for found in profiles.models.values() for row in _overhead_documents(found))
        print_json({"overheads": list(rows)})
        return
    for name, found in profiles.models.items():
        print_table(f"{name}: overheads of parallelism, seconds", _HEADER, _overhead_rows(found))


_HEADER = (
    "config",
    "batch size",
    "intra-op communication",
    "inter-op communication",
    "inter-op imbalance",
    "share of stages x slowest",
)


def _overhead_rows(found: ModelProfile) -> Iterator[Sequence[object]]:
    for one in overheads(found):
        parts = (one.intra_op_communication_s, one.inter_op_communication_s, one.inter_op_imbalance_s)
        yield (str(one.config), one.batch_size, *parts, percent(one.share))


def _overhead_documents(found: ModelProfile) -> Iterator[dict[str, Any]]:
    for one in overheads(found):
        yield {"model": found.name, **asdict(one)}
