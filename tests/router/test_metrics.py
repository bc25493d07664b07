"""Each end of a request is counted as one outcome, and under a name that no caller made up."""

import asyncio
import math
from time import monotonic

import pytest
from alpaserve.v1 import leader_pb2

from services.core import errors
from services.infra.store.activity import Deadlines
from services.router.call import Call, Reply
from services.router.metrics import Outcome, Requests, outcome_of
from tests.router.calls import ends


def call(model: str = "m", left_s: float = math.inf) -> Call:
    return Call("id", model, b"", None, monotonic(), math.inf, monotonic() + left_s)


@pytest.fixture
def requests() -> Requests:
    known = Requests()
    known.arrivals["m"] += 1
    return known


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (errors.SloUnattainable("", 2.0, 1.0, 1.0), Outcome.REJECTED),
        (errors.DeadlinePassed(""), Outcome.LATE),
        (errors.InvalidInput(""), Outcome.INVALID),
        (errors.UnknownModel(""), Outcome.INVALID),
        (errors.NotPlaced(""), Outcome.FAILED),
        (errors.GroupUnavailable(""), Outcome.FAILED),
        (RuntimeError(), Outcome.FAILED),
        (asyncio.CancelledError(), Outcome.CANCELLED),
    ],
)
def test_an_error_is_an_outcome(error: BaseException, outcome: Outcome) -> None:
    assert outcome_of(error) is outcome


@pytest.mark.parametrize(("left_s", "outcome"), [(60.0, "cancelled"), (0.0, "late")])
def test_who_hangs_up_at_the_deadline_was_answered_too_late(requests: Requests, left_s: float, outcome: str) -> None:
    told = requests.ended(call(left_s=left_s), asyncio.CancelledError())
    assert ends(requests, "m") == {told: 1} == {outcome: 1}


@pytest.mark.parametrize(("left_s", "outcome"), [(60.0, "served"), (-1.0, "late")])
def test_an_answer_is_in_time_or_late(requests: Requests, left_s: float, outcome: str) -> None:
    told = requests.answered(call(left_s=left_s), Reply(leader_pb2.Served(), 1, "g1", 0.1, 0.0))
    assert ends(requests, "m") == {told: 1} == {outcome: 1}


def test_a_prediction_is_held_against_the_answer_of_its_example_not_of_its_batch(requests: Requests) -> None:
    asked = Call("id", "m", b"", None, monotonic() - 60.0, math.inf)
    requests.answered(asked, Reply(leader_pb2.Served(), 1, "g1", 0.5, asked.arrival_s + 0.5))
    (family,) = [one for one in requests.collect() if one.name == "alpaserve_prediction_error_seconds"]
    counts = {one.labels["le"]: one.value for one in family.samples if one.name.endswith("_bucket")}
    assert (counts["-0.001"], counts["0.001"]) == (0, 1)


def test_models_that_nobody_registered_share_the_empty_name(requests: Requests) -> None:
    requests.ended(call("made up"), errors.UnknownModel(""))
    requests.ended(call("as well"), errors.UnknownModel(""))
    assert (ends(requests, ""), ends(requests, "made up")) == ({"invalid": 2}, {})


def test_news_are_told_once(requests: Requests) -> None:
    requests.ended(call(), errors.GroupUnavailable(""))
    assert requests.news() == ({"m": 1}, {"m": Deadlines(0, 1)})
    requests.ended(call(), errors.InvalidInput(""))
    assert requests.news() == ({}, {"m": Deadlines(0, 0)})
