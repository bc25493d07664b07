"""One replay for `alpaserve replay`: sent, written down, told, and held against what was expected."""

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from alpaserve_cli.files import writing
from alpaserve_cli.output import Output, percent, print_json
from alpaserve_cli.replay.html import write_report
from alpaserve_cli.replay.live import ProgressStyle, showing
from alpaserve_cli.replay.outcomes import ReplayResult, summary
from alpaserve_cli.replay.prediction import Prediction
from alpaserve_cli.replay.printing import print_replay
from alpaserve_cli.replay.records import write_records
from alpaserve_cli.replay.running import Runner
from services.core.errors import InvalidArgument
from services.core.workload import Workload


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a replay is to leave: files, and an attainment that was `expected`. `source` names its workload."""

    source: str
    records: Path | None
    report: Path | None
    expected: float | None

    def check(self, prediction: Prediction | None, is_search: bool) -> None:
        """Before anything is sent. Raises: InvalidArgument."""
        if self.expected is not None and not 0 < self.expected <= 1:
            raise InvalidArgument(f"--expect-attainment must be above 0 and at most 1, got {self.expected!r}")
        given = {"--records": self.records, "--report": self.report, "--expect-attainment": self.expected}
        for option, value in given.items():
            if is_search and value is not None:
                raise InvalidArgument(f"{option} does not go with --find-rate: {value}")
        if self.report is not None and prediction is None:
            raise InvalidArgument(
                f"--report {self.report} shows measured beside predicted: it needs --spec and --profiles"
            )
        for path in (self.records, self.report):
            if path is not None:
                with writing(path):
                    pass

    def write(self, result: ReplayResult, prediction: Prediction | None) -> None:
        """Raises: InvalidArgument for a file that cannot be written."""
        if self.records is not None:
            write_records(result, self.records)
        if self.report is not None and prediction is not None and result.counted.any():
            write_report(result, prediction, self.source, self.report)

    def is_attained(self, document: Mapping[str, Any]) -> bool:
        """Whether as much as expected was; says on stderr if not."""
        attainment = document["attainment"]
        if self.expected is None or (attainment or 0.0) >= self.expected:
            return True
        print(f"expected {percent(self.expected)}, got {percent(attainment)}", file=sys.stderr)
        return False


def replay_once(
    workload: Workload,
    num_warm_up: int,
    runner: Runner,
    wanted: Wanted,
    prediction: Prediction | None,
    progress: ProgressStyle,
    output: Output,
) -> bool:
    """Whether as much as expected was attained. Raises: as `Runner.run`."""
    with showing(progress) as show:
        result = runner.run(workload, num_warm_up, show)
    predicted = asdict(prediction.report(result)) if prediction and result.counted.any() else None
    document = summary(result) | {"num_processes": runner.num_processes, "predicted": predicted}
    wanted.write(result, prediction)
    if output is Output.JSON:
        print_json(document)
    else:
        print_replay(document, result)
    return wanted.is_attained(document)
