"""What is remembered between decisions, and what a decision goes by."""

from dataclasses import replace

import numpy as np
import pytest

from services.core.deployment import Deployment
from services.core.placement import Group, Placement
from services.core.profile import ModelProfile, ParallelConfig, Profiles, StageProfile
from services.core.spec import ModelSpec, Spec
from services.infra.store.members import WorkerRecord
from services.planner.cluster import LiveCluster
from services.planner.controllers.decision import PastSwitch, Running, replicas_of
from services.planner.controllers.drift import Assumed
from services.planner.controllers.observation import Observation
from services.planner.controllers.setting import Setting
from services.planner.replacement_facts import Facts, observed
from services.planner.replacement_memory import Memory

ONE = ParallelConfig(1, 1)
THERE = Placement((Group(ONE, (0,), ("a",)), Group(ONE, (1,), ("b",))))
ELSEWHERE = Placement((Group(ONE, (0,), ("b",)), Group(ONE, (1,), ("a",))))
SWITCH = PastSwitch(50.0, replicas_of(ELSEWHERE), replicas_of(THERE), 0.25)
ASSUMED = Assumed(np.array([2.0, 0.5]), np.array([1.0, 1.5]), 600.0)
STAGE = StageProfile(ONE, 1, (0.1,), (10,))


def facts(running: Placement, names: tuple[str, ...] = ("a", "b"), first_device: int = 0) -> Facts:
    live = LiveCluster((WorkerRecord("w", "w:1", "emulated", first_device, 2, 100),))
    spec = Spec(live.for_planning(), tuple(ModelSpec(name, "p") for name in names))
    setting = Setting(spec, Profiles({"p": ModelProfile("p", (STAGE,))}))
    counts = {name: np.full(20, 3, dtype=np.int64) for name in names}
    return Facts(Deployment(), live, running, setting, Observation.of(names, 100.0, counts))


def remembered(placement: Placement = THERE) -> Memory:
    return Memory.of(facts(placement), Running(placement, 50.0, 90.0, ASSUMED, (SWITCH,)))


def test_a_restart_forgets_nothing() -> None:
    running = Memory.load(remembered().dump()).under(facts(THERE))

    assert (running.placement, running.since_s, running.looked_at_s) == (THERE, 50.0, 90.0)
    assert running.switches == (SWITCH,)
    assert running.assumed is not None
    assert running.assumed.rates_per_s.tolist() == [2.0, 0.5]
    assert running.assumed.cv.tolist() == [1.0, 1.5]
    assert running.assumed.span_s == 600.0


def test_the_order_of_groups_makes_no_other_placement() -> None:
    reordered = replace(THERE, groups=THERE.groups[::-1])

    running = remembered().under(facts(reordered))

    assert (running.placement, running.since_s) == (reordered, 50.0)


def test_a_placement_of_somebody_else_begins_anew_with_the_switches_before_it() -> None:
    running = remembered().under(facts(ELSEWHERE))

    assert (running.placement, running.since_s, running.looked_at_s) == (ELSEWHERE, 100.0, 100.0)
    assert running.switches == (SWITCH,)
    assert running.assumed is not None
    assert running.assumed.rates_per_s.tolist() == [3.0, 3.0]


def test_on_other_devices_switches_say_nothing() -> None:
    assert remembered().under(facts(THERE, first_device=2)).switches == ()


def test_with_other_models_what_was_assumed_is_what_is_seen() -> None:
    running = remembered().under(facts(THERE, ("a", "b", "c")))

    assert running.since_s == 50.0
    assert running.assumed is not None
    assert running.assumed.rates_per_s.tolist() == [3.0, 3.0, 3.0]


def test_a_document_that_is_none_is_no_memory() -> None:
    with pytest.raises(ValueError, match="devices"):
        Memory.load(b'{"names": []}')


def test_silence_before_anything_was_known_is_left_out() -> None:
    recent = {"a": np.array([0, 0, 4, 0]), "b": np.array([0, 0, 0, 1])}

    seen = observed(("a", "b", "c"), 9.0, recent, {})

    assert seen.recent.counts.tolist() == [[4, 0], [0, 1], [0, 0]]
    assert seen.history.num_buckets == 0


def test_silence_within_what_is_known_counts() -> None:
    recent = {"a": np.array([0, 0, 4, 0])}

    seen = observed(("a", "b"), 9.0, recent, {"b": np.array([7, 0])})

    assert seen.recent.counts.tolist() == [[0, 0, 4, 0], [0, 0, 0, 0]]
    assert seen.history.counts.tolist() == [[0, 0], [7, 0]]
    assert seen.history.bucket_s == 300
