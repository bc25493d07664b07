"""A placement is applied whether its transition can be watched or not."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from alpaserve.v1 import planner_pb2

from tests.cli.conftest import Run
from tests.cli.scripted_planner import ScriptedPlanner, planning, transitions

PLACEMENT = {
    "schema": "alpaserve.placement/v1",
    "groups": [{"inter_op": 1, "intra_op": 2, "devices": [0, 1], "models": ["m0"]}],
}


class Unwatched(ScriptedPlanner):
    """Knows no WatchTransition."""

    def WatchTransition(
        self, request: planner_pb2.WatchTransitionRequest, context: grpc.ServicerContext
    ) -> Iterator[planner_pb2.WatchTransitionResponse]:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "no such method")


@dataclass
class BreakingOff(ScriptedPlanner):
    """Its stream breaks after so many looks at a transition."""

    num_looks: int = 0

    def WatchTransition(
        self, request: planner_pb2.WatchTransitionRequest, context: grpc.ServicerContext
    ) -> Iterator[planner_pb2.WatchTransitionResponse]:
        yield planner_pb2.WatchTransitionResponse()
        while not self.history:
            time.sleep(0.01)
        for _, transition in zip(range(self.num_looks), transitions(), strict=False):
            yield planner_pb2.WatchTransitionResponse(transition=transition)
        context.abort(grpc.StatusCode.UNAVAILABLE, "the stream broke")


@pytest.mark.parametrize(
    ("planner", "seen"),
    [(Unwatched(), []), (BreakingOff(), []), (BreakingOff(num_looks=1), ["transition_began"])],
    ids=["missing", "broken at once", "broken on the way"],
)
def test_a_placement_is_applied_though_its_transition_cannot_be_watched(
    run: Run, tmp_path: Path, planner: ScriptedPlanner, seen: list[str]
) -> None:
    (tmp_path / "placement.json").write_text(json.dumps(PLACEMENT))
    with planning(planner) as address:
        finished = run("apply", tmp_path / "placement.json", "--watch", "--planner", address, "--output", "json")

    events = [json.loads(line) for line in finished.stdout.splitlines()]
    assert finished.exit_code == 0
    assert [event["event"] for event in events] == [*seen, "applied"]
    assert finished.stderr.startswith("the transition cannot be watched: ")
