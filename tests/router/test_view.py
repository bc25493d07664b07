"""What a router knows of the groups: the rule over the leaders' clocks and its own requests."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.core import schedule
from services.core.deployment import DeployedGroup, DeployedModel, Deployment
from services.core.errors import NotPlaced, UnknownModel
from services.core.profile import ParallelConfig
from services.router.view import PlacementView, Report

SECONDS = st.floats(0.001, 2.0)
NUM_STAGES = (1, 2, 4)


def deployed(name: str, models: Mapping[str, tuple[float, ...]]) -> DeployedGroup:
    num_stages = len(next(iter(models.values())))
    return DeployedGroup(name, ParallelConfig(num_stages, 1), tuple(range(num_stages)), "w", "", models)


def deployment(*groups: DeployedGroup, dispatch: str = "earliest-free", overhead_s: float = 0.0) -> Deployment:
    models = {model: DeployedModel() for group in groups for model in group.replicas}
    return Deployment(1, groups, {**models, "nowhere": DeployedModel()}, overhead_s, dispatch)


@dataclass(frozen=True)
class Case:
    """Groups of one model, their reported clocks, and groups to avoid."""

    latencies: tuple[tuple[float, ...], ...]
    holds: tuple[bool, ...]
    free_in_s: tuple[tuple[float, ...], ...]
    num_in_flight: tuple[int, ...]
    avoid: frozenset[str]
    rule: str

    def view(self) -> PlacementView:
        groups = [
            deployed(f"g{index}", {"m" if held else "other": latency})
            for index, (latency, held) in enumerate(zip(self.latencies, self.holds, strict=True))
        ]
        view = PlacementView(deployment(*groups, deployed("last", {"m": (1.0,)}), dispatch=self.rule))
        for index, (clocks, count) in enumerate(zip(self.free_in_s, self.num_in_flight, strict=True)):
            view.report(f"g{index}", Report(clocks, count, 0), 100.0)
        return view

    def by_rule(self, now_s: float) -> str:
        """The same decision from the rule's own text, over flat arrays."""
        stages = [*map(len, self.latencies), 1]
        first_stage = [sum(stages[:index]) for index in range(len(stages) + 1)]
        free_at = [100.0 + clock for clocks in self.free_in_s for clock in clocks] + [0.0]
        latency = [second for row in self.latencies for second in row] + [1.0]
        held = [*self.holds, True]
        names = [*(f"g{index}" for index in range(len(self.holds))), "last"]
        hosts = [index for index, name in enumerate(names) if held[index] and name not in self.avoid]
        rule = schedule.DISPATCH_RULES.index(self.rule)
        return names[schedule.dispatch(rule, now_s, hosts, first_stage, free_at, [*self.num_in_flight, 0], latency)]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    stages = draw(st.lists(st.sampled_from(NUM_STAGES), min_size=1, max_size=6))
    free = st.floats(-3.0, 3.0)
    return Case(
        latencies=tuple(draw(st.tuples(*[SECONDS] * count)) for count in stages),
        holds=tuple(draw(st.booleans()) for _ in stages),
        free_in_s=tuple(draw(st.tuples(*[free] * count)) for count in stages),
        num_in_flight=tuple(draw(st.integers(0, 5)) for _ in stages),
        avoid=frozenset(draw(st.sets(st.sampled_from([f"g{index}" for index in range(len(stages))])))),
        rule=draw(st.sampled_from(schedule.DISPATCH_RULES)),
    )


@given(case=cases(), later_s=st.floats(0, 3))
def test_the_router_dispatches_by_the_rule(case: Case, later_s: float) -> None:
    now_s = 100.0 + later_s
    chosen = case.view().dispatch("m", now_s, case.avoid)
    assert chosen is not None
    assert chosen.name == case.by_rule(now_s)


@given(
    sent=st.lists(st.sampled_from(["a", "b"]), max_size=12),
    num_received=st.integers(0, 14),
    free_in_s=st.tuples(*[st.floats(-1, 3)] * 2),
)
def test_a_report_counts_again_exactly_what_it_does_not_include(
    sent: list[str], num_received: int, free_in_s: tuple[float, ...]
) -> None:
    replicas = {"a": (0.5, 0.25), "b": (1.0, 2.0)}
    view = PlacementView(deployment(deployed("g", replicas)))
    for sequence, model in enumerate(sent, start=1):
        view.sent(view.groups["g"], model, sequence, 10.0)
    view.report("g", Report(free_in_s, 3, num_received), 11.0)
    expected = [11.0 + clock for clock in free_in_s]
    for model in sent[num_received:]:
        schedule.commit(11.0, expected, replicas[model], 0, 2)
    asked_s = schedule.last_stage_end(11.0, expected, replicas["b"], 0, 2) - 11.0
    assert view.predicted_s(view.groups["g"], "b", 11.0) == asked_s


def test_a_request_that_ended_is_not_counted_again() -> None:
    view = PlacementView(deployment(deployed("g", {"m": (1.0,)})))
    group = view.groups["g"]
    view.sent(group, "m", 1, 0.0)
    view.sent(group, "m", 2, 0.0)
    view.ended(group, 1)
    view.report("g", Report([0.0], 0, 0), 5.0)
    assert view.predicted_s(group, "m", 5.0) == 2.0


def test_sequences_that_begin_again_are_counted_like_the_first() -> None:
    view = PlacementView(deployment(deployed("g", {"m": (1.0,)})))
    group = view.groups["g"]
    view.sent(group, "m", 900, 0.0)
    view.ended(group, 900)
    view.sent(group, "m", 1, 1.0)
    view.report("g", Report([0.0], 0, 1), 5.0)
    assert view.predicted_s(group, "m", 5.0) == 1.0


@pytest.mark.parametrize("rule", schedule.DISPATCH_RULES)
def test_own_requests_count_before_any_report(rule: str) -> None:
    groups = (deployed("g0", {"m": (1.0,)}), deployed("g1", {"m": (1.0,)}))
    view = PlacementView(deployment(*groups, dispatch=rule))
    names = []
    for sequence in range(1, 5):
        chosen = view.dispatch("m", 0.0, ())
        assert chosen is not None
        view.sent(chosen, "m", sequence, 0.0)
        names.append(chosen.name)
    assert names == ["g0", "g1", "g0", "g1"]


def test_groups_that_stay_keep_their_clocks_under_the_next_placement() -> None:
    first, second = deployed("g0", {"m": (1.0,)}), deployed("g1", {"m": (1.0, 1.0)})
    older = PlacementView(deployment(first, second))
    older.sent(older.groups["g1"], "m", 1, 10.0)
    older.report("g0", Report([7.0], 2, 0), 10.0)
    newer = PlacementView(deployment(deployed("g2", {"m": (1.0,)}), second, first))
    newer.inherit(older, 10.0)
    predicted = {name: newer.predicted_s(newer.groups[name], "m", 10.0) for name in newer.names}
    assert predicted == {"g0": 8.0, "g1": 3.0, "g2": 1.0}


def test_a_request_of_the_older_placement_is_still_counted_again_under_the_next() -> None:
    group = deployed("g", {"m": (1.0,)})
    older, newer = PlacementView(deployment(group)), PlacementView(deployment(group))
    older.sent(older.groups["g"], "m", 1, 0.0)
    newer.inherit(older, 0.0)
    newer.report("g", Report([0.0], 0, 0), 5.0)
    assert newer.predicted_s(newer.groups["g"], "m", 5.0) == 2.0
    older.ended(older.groups["g"], 1)
    newer.report("g", Report([0.0], 0, 0), 5.0)
    assert newer.predicted_s(newer.groups["g"], "m", 5.0) == 1.0


@pytest.mark.parametrize("report", [Report([1.0, 2.0], 1, 0), Report([], 1, 0)])
def test_a_report_of_another_shape_changes_nothing(report: Report) -> None:
    view = PlacementView(deployment(deployed("g", {"m": (1.0,)})))
    view.report("g", report, 0.0)
    view.report("stranger", Report([9.0], 1, 0), 0.0)
    assert view.predicted_s(view.groups["g"], "m", 0.0) == 1.0


def test_the_overhead_is_part_of_the_predicted_finish() -> None:
    view = PlacementView(deployment(deployed("g", {"m": (1.0,)}), overhead_s=0.25))
    assert view.predicted_s(view.groups["g"], "m", 0.0) == 1.25


def test_without_a_host_left_nothing_is_named() -> None:
    view = PlacementView(deployment(deployed("g", {"m": (1.0,)})))
    assert view.dispatch("m", 0.0, {"g"}) is None
    assert view.dispatch("nowhere", 0.0, ()) is None
    assert view.dispatch("stranger", 0.0, ()) is None


@pytest.mark.parametrize(("name", "kind"), [("nowhere", NotPlaced), ("stranger", UnknownModel)])
def test_a_model_that_cannot_be_asked_says_why(name: str, kind: type[Exception]) -> None:
    view = PlacementView(deployment(deployed("g", {"m": (1.0,)})))
    with pytest.raises(kind, match=name):
        view.model(name)


def told_full(max_batch_size: int = 1) -> PlacementView:
    """A group of two stages of 1 s whose leader said, at 10 s, that they are free in 3 and 4 s."""
    placed = deployment(deployed("g", {"m": (1.0, 1.0)}), overhead_s=0.5)
    view = PlacementView(replace(placed, max_batch_size=max_batch_size))
    view.report("g", Report([3.0, 4.0], 7, 0), 10.0)
    return view


@pytest.mark.parametrize(
    ("view", "now_s", "expected_s"),
    [
        (told_full(), 10.0, 5.5),
        (told_full(), 10.05, 5.45),
        (told_full(), 10.2, 0.0),
        (told_full(max_batch_size=4), 10.0, 4.0),
        (PlacementView(deployment(deployed("g", {"m": (1.0, 1.0)}))), 10.0, 0.0),
    ],
)
def test_how_full_a_group_is_at_least_is_known_from_fresh_news_only(
    view: PlacementView, now_s: float, expected_s: float
) -> None:
    assert view.full_s(view.groups["g"], "m", now_s) == pytest.approx(expected_s)


def test_own_requests_make_no_group_known_to_be_full() -> None:
    view = told_full()
    view.sent(view.groups["g"], "m", 1, 10.0)
    assert view.full_s(view.groups["g"], "m", 10.0) == pytest.approx(5.5)
