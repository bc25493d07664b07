"""Profiles out of the table that Alpa's benchmark writes: tab-separated, one run a row, with or without a header.

Values are read as numbers and lists of numbers and never evaluated; columns beside ours, as the metadata of its
automatic runs, are text that is not looked at.
"""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from services.core.errors import AlpaServeError, InvalidProfile
from services.core.profile import ModelProfile, ParallelConfig, Profiles, StageProfile

COLUMNS = (
    "ModelName",
    "BS",
    "#Microbatch",
    "DP",
    "OP",
    "PP",
    "#GPU",
    "MeanTime(s)",
    "StdTime(s)",
    "TFLOPs",
    "StageWeights(B)",
    "StagePeakMem(B)",
    "StageLatencies(s)",
)
NEEDED = ("ModelName", "BS", "OP", "PP", "StageWeights(B)")
_ABSENT = ("", "None", "nan", "-", "[]", "()")
_SHOWN_CHARACTERS = 80


@dataclass(frozen=True, slots=True)
class Row:
    """The cells of one line by column; a column that the table lacks is an empty cell."""

    line: int
    cells: dict[str, str]

    def text(self, column: str) -> str:
        return self.cells.get(column, "").strip()

    def is_given(self, column: str) -> bool:
        return self.text(column) not in _ABSENT

    def count(self, column: str, default: int | None = None) -> int:
        """Raises: InvalidProfile for anything but a whole number from 1."""
        if default is not None and not self.is_given(column):
            return default
        text = self.text(column)
        if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) < 1:
            raise self.refusal(column, "must be a whole number from 1")
        return int(text)

    def numbers(self, column: str, count: int) -> list[float]:
        """So many numbers, of a list in any brackets, by commas or spaces. Raises: InvalidProfile."""
        parts = [part for part in re.split(r"[,\s]+", self.text(column).strip("[]() ")) if part]
        try:
            found = [float(part) for part in parts]
        except ValueError:
            raise self.refusal(column, "must be numbers") from None
        if not all(math.isfinite(number) and number >= 0 for number in found):
            raise self.refusal(column, "must be finite and not negative")
        if len(found) != count:
            raise self.refusal(column, f"must be {count} numbers, one a stage")
        return found

    def refusal(self, column: str, says: str) -> InvalidProfile:
        text = self.text(column)
        shown = repr(text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…")
        return InvalidProfile(f"line {self.line}: {column} {says}, got {shown}")


def parse_alpa_table(text: str) -> Profiles:
    """Every model of the table; of a config that was run twice the later row counts.

    Raises: InvalidProfile with the line and the value that is refused.
    """
    found: dict[str, dict[tuple[ParallelConfig, int], StageProfile]] = {}
    for row in _rows(text.removeprefix("\ufeff").splitlines()):
        if not row.is_given("ModelName"):
            raise row.refusal("ModelName", "must be a name")
        stage = _stage(row)
        found.setdefault(row.text("ModelName"), {})[stage.config, stage.batch_size] = stage
    if not found:
        raise InvalidProfile("the table has no rows")
    models = {name: ModelProfile(name, tuple(stages.values())) for name, stages in found.items()}
    return Profiles(models, note="imported from a table of Alpa's benchmark")


def _rows(lines: Sequence[str]) -> Iterator[Row]:
    columns: Sequence[str] = COLUMNS
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        cells = line.split("\t")
        if cells[0].strip() == COLUMNS[0]:
            columns = _header(number, cells)
        elif len(cells) < min(len(columns), len(COLUMNS)):
            raise InvalidProfile(f"line {number}: {len(cells)} tab-separated values, expected {len(columns)}")
        else:
            yield Row(number, dict(zip(columns, cells, strict=False)))


def _header(number: int, cells: Sequence[str]) -> list[str]:
    columns = [cell.strip() for cell in cells]
    for name in NEEDED:
        if name not in columns:
            raise InvalidProfile(f"line {number}: the header lacks {name}, got {columns}")
    for name in COLUMNS:
        if columns.count(name) > 1:
            raise InvalidProfile(f"line {number}: the header has {name} twice")
    return columns


def _stage(row: Row) -> StageProfile:
    config = ParallelConfig(inter_op=row.count("PP"), intra_op=row.count("OP"))
    _check_run(row, config)
    weights = row.numbers("StageWeights(B)", config.inter_op)
    latencies_s, note = _latencies(row, config.inter_op)
    try:
        return StageProfile(
            config=config,
            batch_size=row.count("BS"),
            stage_latency_s=tuple(latencies_s),
            stage_weight_bytes=tuple(round(weight) for weight in weights),
            stage_activation_bytes=_activations(row, weights),
            source="imported",
            note=note,
        )
    except AlpaServeError as refusal:
        raise InvalidProfile(f"line {row.line}: {refusal}") from None


def _check_run(row: Row, config: ParallelConfig) -> None:
    """A run of one whole batch on inter_op · intra_op devices; replicas are the planner's business."""
    if row.count("DP", default=1) != 1:
        raise row.refusal("DP", "must be 1: a profile is of one replica")
    if row.count("#Microbatch", default=1) != 1:
        raise row.refusal("#Microbatch", "must be 1: a batch is served whole")
    if row.count("#GPU", default=config.num_devices) != config.num_devices:
        raise row.refusal("#GPU", f"must be OP · PP = {config.num_devices}")


def _latencies(row: Row, num_stages: int) -> tuple[list[float], str]:
    if row.is_given("StageLatencies(s)"):
        return row.numbers("StageLatencies(s)", num_stages), "stage latencies of Alpa's benchmark"
    if not row.is_given("MeanTime(s)"):
        raise row.refusal("StageLatencies(s)", "must be numbers where MeanTime(s) is not given")
    (mean_s,) = row.numbers("MeanTime(s)", 1)
    return [mean_s / num_stages] * num_stages, "mean time of Alpa's benchmark, split evenly over the stages"


def _activations(row: Row, weights: Sequence[float]) -> tuple[int, ...]:
    """What the peak has beyond the weights; nothing where the peak is not known."""
    if not row.is_given("StagePeakMem(B)"):
        return ()
    peaks = row.numbers("StagePeakMem(B)", len(weights))
    return tuple(max(0, round(peak - weight)) for peak, weight in zip(peaks, weights, strict=True))
