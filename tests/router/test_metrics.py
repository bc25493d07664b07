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


def call(model: str = "m", left_s: float = math.inf) -> Call:
    return Call("id", model, b"", None, monotonic(), math.inf, monotonic() + left_s)


@pytest.fixture
def requests() -> Requests:
    known = Requests()
    known.arrivals["m"] += 1
    return known


def num(requests: Requests, model: str = "m") -> dict[str, float]:
    family = next(family for family in requests.collect() if family.name == "alpaserve_requests")
    return {
        sample.labels["outcome"]: sample.value
        for sample in family.samples
        if sample.labels["model"] == model and sample.value
    }


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
    assert num(requests) == {told: 1} == {outcome: 1}


@pytest.mark.parametrize(("left_s", "outcome"), [(60.0, "served"), (-1.0, "late")])
def test_an_answer_is_in_time_or_late(requests: Requests, left_s: float, outcome: str) -> None:
    told = requests.answered(call(left_s=left_s), Reply(leader_pb2.Served(), 1, "g1", 0.1))
    assert num(requests) == {told: 1} == {outcome: 1}


def test_models_that_nobody_registered_share_the_empty_name(requests: Requests) -> None:
    requests.ended(call("made up"), errors.UnknownModel(""))
    requests.ended(call("as well"), errors.UnknownModel(""))
    assert (num(requests, ""), num(requests, "made up")) == ({"invalid": 2}, {})


def test_news_are_told_once(requests: Requests) -> None:
    requests.ended(call(), errors.GroupUnavailable(""))
    assert requests.news() == ({"m": 1}, {"m": Deadlines(0, 1)})
    requests.ended(call(), errors.InvalidInput(""))
    assert requests.news() == ({}, {"m": Deadlines(0, 0)})
