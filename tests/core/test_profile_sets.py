"""Sets of profiles that are put together and taken apart again say what they said."""

from services.core.device import DeviceCosts, Link
from services.core.profile import Device, ModelProfile, ParallelConfig, Profiles, StageProfile
from services.core.profile_documents import parse_profiles, profiles_document
from services.core.profile_sets import combined, only

LINK = Link(1e-5, 1e9)
STAGE = StageProfile(ParallelConfig(1, 1), 1, (0.1,), (10,), boundaries=(0, 3))


def costs(flops_per_s: float) -> DeviceCosts:
    return DeviceCosts(flops_per_s, 1e10, 1e-6, LINK, LINK, LINK, LINK, LINK)


def alone(name: str, overhead_s: float, device_costs: DeviceCosts | None) -> Profiles:
    device = Device("cpu", 100, 8, device_costs)
    return Profiles({name: ModelProfile(name, (STAGE,), 0.2)}, device, overhead_s, note=f"of {name}")


def test_sets_that_differ_come_back_as_they_were() -> None:
    parts = [alone("a", 0.01, costs(1e12)), alone("b", 0.02, costs(2e12)), alone("c", 0.03, None)]

    both = combined(parts)

    assert (both.request_overhead_s, both.note) == (0.03, "of a; of b; of c")
    assert [both.costs_of(name) for name in "abc"] == [costs(1e12), costs(2e12), None]
    assert [only(both, name).device for name in "abc"] == [part.device for part in parts]
    assert [only(both, name).models for name in "abc"] == [part.models for part in parts]
    assert [only(both, name).request_overhead_s for name in "abc"] == [0.01, 0.02, 0.03]
    assert parse_profiles(profiles_document(both)) == both


def test_sets_that_agree_have_nothing_of_their_own() -> None:
    both = combined([alone("a", 0.01, costs(1e12)), alone("b", 0.01, costs(1e12))])

    assert both.device.costs == costs(1e12)
    assert [(model.request_overhead_s, model.costs) for model in both.models.values()] == [(None, None)] * 2
