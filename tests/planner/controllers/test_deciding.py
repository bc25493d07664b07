"""Decisions: switched where it pays, left where it does not, never back and forth, always on record."""

from dataclasses import replace

import numpy as np
import pytest

from services.core.documents import parse_spec
from services.core.errors import InvalidArgument
from services.core.placement import Group, Placement
from services.core.profile import ParallelConfig
from services.core.profile_documents import parse_profiles
from services.core.steps import StepCosts
from services.planner.controllers.closed_loop import Stretch, counted, observed, run_controller
from services.planner.controllers.controllers import CONTROLLER_NAMES, Controller, Oracle, Periodic, make_controller
from services.planner.controllers.deciding import decide
from services.planner.controllers.decision import Decision, Prospect, Running, Verdict, replicas_of
from services.planner.controllers.observation import HISTORY_BUCKET_S, Observation
from services.planner.controllers.outlook import joined
from services.planner.controllers.setting import Effort, Prudence, Setting
from tests.planner.controllers.turns import EFFORT, NAMES, holding, setting, turns
from tests.planner.problems import entry, profiles, spec

EVEN, ODD = holding("even", "even"), holding("odd", "odd")


def seen(turn: int, turn_s: float = 600.0) -> Observation:
    """After so many whole turns, the last of which was `turn`."""
    workload = turns(turn_s, turn + 1)
    now_s = turn_s * (turn + 1)
    history = counted(workload, HISTORY_BUCKET_S, round(now_s / HISTORY_BUCKET_S))
    return observed(workload, history, now_s, Stretch(1.0, now_s + 1.0, 600.0, recent_s=turn_s))


def told(decision: Decision) -> tuple[Verdict, Placement | None, Prospect | None]:
    """What a decision came to."""
    return decision.verdict, decision.candidate, decision.prospect


@pytest.mark.parametrize("name", CONTROLLER_NAMES)
def test_what_nobody_can_ask_for_makes_way_for_what_is_asked_for(name: str) -> None:
    running = Running.begin(EVEN, 0.0, seen(0))

    decision = decide(setting(), make_controller(name), seen(1), running, EFFORT)

    assert decision.verdict is Verdict.SWITCH
    assert decision.candidate is not None
    assert any("odd" in group.models for group in decision.candidate.groups)
    assert decision.prospect is not None
    assert decision.margin is not None
    assert decision.prospect.gain > max(decision.margin, 0.5)
    assert decision.move is not None
    assert "odd" in decision.move.models_loaded
    assert decision.move.load_bytes >= 60
    assert running.after(decision).placement == decision.candidate


@pytest.mark.parametrize("name", CONTROLLER_NAMES)
def test_what_serves_well_stays(name: str) -> None:
    running = Running.begin(EVEN, 0.0, seen(0))

    decision = decide(setting(), make_controller(name), seen(0), running, EFFORT)

    assert not decision.taken
    assert running.after(decision).placement == EVEN


def test_a_load_that_outlasts_the_horizon_does_not_pay() -> None:
    slow = setting(load_bytes_per_s=0.05)

    decision = decide(slow, Periodic(), seen(1), Running.begin(EVEN, 0.0), EFFORT)

    assert decision.verdict is Verdict.GAIN_TOO_SMALL
    assert decision.prospect is not None
    assert decision.prospect.cost > 0.5


def test_the_cost_of_a_switch_falls_with_the_speed_of_loading() -> None:
    costs = []
    for speed in (1.0, 10.0, None):
        decision = decide(setting(speed), Periodic(), seen(1), Running.begin(EVEN, 0.0), EFFORT)
        assert decision.prospect is not None
        costs.append(decision.prospect.cost)

    assert costs[0] > costs[1] > costs[2] == 0


def test_the_same_decision_comes_out_again() -> None:
    first, second = (told(decide(setting(), Periodic(), seen(1), Running.begin(EVEN, 0.0), EFFORT)) for _ in range(2))

    assert first == second


def test_before_its_time_nothing_is_searched() -> None:
    decision = decide(setting(), Periodic(1_300.0), seen(1), Running.begin(EVEN, 0.0), EFFORT)

    assert decision.verdict is Verdict.NOT_DUE
    assert decision.num_simulations == 0
    assert Running.begin(EVEN, 0.0).after(decision).looked_at_s == 0.0


def test_traffic_of_a_few_requests_is_not_planned_for() -> None:
    quiet = Observation.of(NAMES, 600.0, {"odd": np.eye(1, 600, 300, dtype=np.int64)[0]})

    decision = decide(setting(), Periodic(), quiet, Running.begin(EVEN, 0.0), EFFORT)

    assert decision.verdict is Verdict.TOO_LITTLE_TRAFFIC


def test_after_a_switch_it_rests() -> None:
    restful = setting(prudence=Prudence(rest_s=700.0))
    switched = Running.begin(EVEN, 0.0).after(decide(restful, Periodic(), seen(1), Running.begin(EVEN, 0.0), EFFORT))

    decision = decide(restful, Periodic(), seen(2), switched, EFFORT)

    assert switched.switches
    assert decision.verdict is Verdict.RESTING


def test_without_prudence_every_new_plan_is_taken() -> None:
    decision = decide(setting(0.05, prudence=None), Periodic(), seen(1), Running.begin(EVEN, 0.0), EFFORT)

    assert decision.taken
    assert decision.margin is None


def run(controller: Controller, own: Setting, turn_s: float, num_turns: int) -> list[Verdict]:
    stretch = Stretch(turn_s, turn_s * num_turns, turn_s, lag_s=0.0, recent_s=turn_s)
    found = run_controller(own, turns(turn_s, num_turns), controller, EVEN, stretch, EFFORT)
    return [decision.verdict for decision in found.decisions]


def test_traffic_that_swings_is_not_followed_back_and_forth() -> None:
    # Each look sees the turn that just ended, and the next is the other's: whoever follows is always wrong.
    careless = run(Periodic(300.0), setting(prudence=None), 300.0, 10)
    careful = run(Periodic(300.0), setting(prudence=Prudence(memory_s=1e6)), 300.0, 10)

    assert careless.count(Verdict.SWITCH) == 8
    assert careful.count(Verdict.SWITCH) == 1
    assert careful.count(Verdict.WOULD_FLIP_BACK) >= 3


def test_a_share_of_a_switch_that_is_taken_back_counts() -> None:
    decision = decide(setting(), Periodic(), seen(1), Running.begin(EVEN, 0.0), EFFORT)
    (switch,) = Running.begin(EVEN, 0.0).after(decision).switches
    assert decision.candidate is not None
    after, before = replicas_of(decision.candidate), replicas_of(EVEN)

    assert switch.share_undone(after, before) == 1.0
    assert switch.share_undone(before, after) == 0.0
    assert switch.gain == decision.prospect.gain if decision.prospect else False


def test_a_controller_sees_the_past_only() -> None:
    past, other = turns(600.0, 4), turns(600.0, 4, rate_per_s=0.5, seed=9)
    changed = joined([past, other.between(1_800.0, 2_400.0)], [0.0, 1_800.0])
    stretch = Stretch(600.0, 2_400.0, 600.0)

    first, second = (run_controller(setting(), own, Periodic(), EVEN, stretch, EFFORT) for own in (past, changed))

    assert [told(own) for own in first.decisions] == [told(own) for own in second.decisions]
    assert first.num_requests != second.num_requests


def test_an_oracle_attains_more_than_who_sees_the_past_only() -> None:
    workload, stretch = turns(600.0, 5), Stretch(600.0, 3_000.0, 600.0, lag_s=0.0)

    oracle, periodic = (
        run_controller(setting(prudence=None), workload, own, EVEN, stretch, EFFORT)
        for own in (Oracle(workload), Periodic())
    )

    assert oracle.attainment > periodic.attainment + 0.2
    assert oracle.num_switches == 2
    assert oracle.num_loads == 4


@pytest.mark.parametrize(("name", "every_s"), [("clairvoyant", 60.0), ("periodic", 0.0)])
def test_controllers_that_there_are_not_are_refused(name: str, every_s: float) -> None:
    with pytest.raises(InvalidArgument):
        make_controller(name, every_s)


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_prudence_is_not_negative(value: float) -> None:
    with pytest.raises(InvalidArgument, match="margin"):
        Prudence(margin=value)


@pytest.mark.parametrize(("begin_s", "end_s"), [(0.0, 10.0), (20.0, 10.0)])
def test_a_stretch_needs_a_past_and_a_length(begin_s: float, end_s: float) -> None:
    with pytest.raises(InvalidArgument):
        Stretch(begin_s, end_s, 5.0, lag_s=0.0)


def test_the_other_steps_of_a_switch_are_paid_for_as_well() -> None:
    slow = replace(setting(None), costs=StepCosts(60.0, switch_s=500.0))

    decision = decide(slow, Periodic(), seen(1), Running.begin(EVEN, 0.0), EFFORT)

    assert decision.prospect is not None
    assert decision.prospect.cost > 0.5


def test_costs_are_told_once() -> None:
    with pytest.raises(InvalidArgument, match="load_bytes_per_s"):
        replace(setting(60.0), costs=StepCosts(60.0))


def test_of_more_requests_than_may_be_judged_the_begin_is() -> None:
    running = Running.begin(EVEN, 0.0)

    whole, begin = (
        decide(setting(), Periodic(), seen(1), running, replace(EFFORT, num_judged_requests=most))
        for most in (200_000, 600)
    )

    assert (whole.verdict, begin.verdict) == (Verdict.SWITCH, Verdict.SWITCH)
    assert "judged" not in whole.reason
    assert "of 600 s are judged" in begin.reason


def test_searches_leave_time_to_judge() -> None:
    effort = Effort(share_of_time=lambda: 0.8)
    share_of_time = effort.limits(1, 2).share_of_time

    assert share_of_time is not None
    assert share_of_time() == pytest.approx(1.0)
    assert not effort.is_time_over


def test_a_running_group_that_would_not_be_planned_is_judged_as_well() -> None:
    document = spec(dict.fromkeys(NAMES, "p"), 3, 100, slo_scale=3)
    document["cluster"]["devices_per_node"] = 1
    whole = parse_profiles(profiles({"model": "p", "profiles": [entry(1, 1, 0.4, 60), entry(2, 1, 0.4, 30)]}))
    own = Setting(parse_spec(document), whole, 600.0, 60.0, most_devices=1)
    groups = Group(ParallelConfig(2, 1), (0, 1), ("even",)), Group(ParallelConfig(1, 1), (2,), ("even",))

    decision = decide(own, Periodic(), seen(1), Running.begin(Placement(groups), 0.0), EFFORT)

    assert decision.taken
    assert decision.candidate is not None
    assert {len(group.devices) for group in decision.candidate.groups} == {1}


@pytest.mark.parametrize("name", CONTROLLER_NAMES)
def test_no_traffic_is_a_reason_before_its_time(name: str) -> None:
    controller, running = make_controller(name, 60.0), Running.begin(EVEN, 0.0, seen(0))

    assert [controller.is_due(now_s, running) for now_s in (59.0, 60.0)] == [False, True]
