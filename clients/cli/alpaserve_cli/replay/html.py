"""A replay as one HTML file: measured beside predicted."""

import io
from pathlib import Path

from alpaserve_cli.replay.outcomes import ReplayResult
from alpaserve_cli.replay.prediction import Prediction
from alpaserve_cli.replay.records import write_rows
from alpaserve_cli.report import made_at, write_page
from services.core.problem import pose
from services.core.records import parse_records
from services.pages.placement_picture import Labels
from services.pages.reports import Framing, replay_report


def write_report(result: ReplayResult, prediction: Prediction, source: str, out: Path) -> None:
    """Of the requests that count, as `source` names them.

    Raises: InvalidArgument for a file that cannot be written; what a placement that cannot be raises.
    """
    rows = io.StringIO()
    write_rows(result, result.counted, rows)
    rows.seek(0)
    after = f" after a warm-up of {result.num_warm_up} requests" if result.num_warm_up else ""
    page = replay_report(
        pose(prediction.spec, prediction.profiles, result.requests(result.counted)),
        prediction.placement,
        Framing(f"Replay of {source}{after}", made_at(), labels=Labels(groups=prediction.group_names)),
        parse_records(rows),
    )
    write_page(page, out)
