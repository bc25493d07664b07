"""Where the time of a request went, as a table and a picture."""

import pytest
from alpaserve_cli.hops import Hop, bar, hops_of
from alpaserve_client import InferResult, StageRun

RESULT = InferResult(
    outputs={},
    request_id="r",
    placement_version=1,
    group="g",
    queue_time_s=3.0,
    execution_time_s=5.0,
    predicted_finish_s=9.0,
    stages=(StageRun(2.0, 4.0, 1.5), StageRun(5.0, 8.0, 2.5)),
    group_time_s=9.0,
    router_time_s=11.0,
)


def test_the_hops_of_a_request_are_its_latency_without_gap_or_overlap() -> None:
    hops = hops_of(RESULT, 15.0)

    pieces = sorted(piece for hop in hops for piece in hop.pieces)
    assert [begin_s for begin_s, _ in pieces] == [0.0, *(end_s for _, end_s in pieces)][:-1]
    assert pieces[-1][1] == 15.0
    assert {hop.name: hop.seconds for hop in hops} == {
        "client ↔ router": 4.0,
        "router ↔ group": 2.0,
        "queue": 2.0,
        "stage 0": 2.0,
        "queue, stage 1": 1.0,
        "stage 1": 3.0,
        "answer": 1.0,
    }
    assert [hop.profiled_s for hop in hops if hop.name.startswith("stage")] == [1.5, 2.5]


@pytest.mark.parametrize(
    ("pieces", "picture"),
    [
        (((0.0, 10.0),), "█" * 40),
        (((0.0, 2.5), (7.5, 10.0)), "█" * 10 + " " * 20 + "█" * 10),
        (((5.0, 5.125),), " " * 20 + "▌" + " " * 19),
        (((10.0, 10.0),), " " * 40),
    ],
)
def test_a_bar_lies_where_the_hop_does(pieces: tuple[tuple[float, float], ...], picture: str) -> None:
    assert bar(Hop("hop", pieces), 10.0) == picture
