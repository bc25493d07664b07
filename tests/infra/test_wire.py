"""Messages to core values and back: nothing is lost, nothing malformed gets through."""

import string

import pytest
from alpaserve.v1 import model_pb2, placement_pb2
from google.protobuf import duration_pb2
from hypothesis import given
from hypothesis import strategies as st

from services.core.deployment import DeployedGroup, Deployment
from services.core.device import DeviceCosts, Link
from services.core.errors import AlpaServeError, InvalidArgument, InvalidModel, InvalidPlacement, InvalidProfile
from services.core.model import ModelSource, RegisteredModel
from services.core.placement import Group, Placement
from services.core.profile import Device, ModelProfile, ParallelConfig, Profiles, StageProfile
from services.core.schedule import DISPATCH_RULES
from services.infra import wire

NAMES = st.text(string.ascii_letters + string.digits + "-._é中", min_size=1, max_size=12)
SECONDS = st.floats(1e-6, 1e6)
BYTES = st.integers(0, 2**50)
LINKS = st.builds(Link, SECONDS, SECONDS)
COSTS = st.builds(DeviceCosts, SECONDS, SECONDS, SECONDS, LINKS, LINKS, LINKS, LINKS, LINKS)
CONFIGS = st.builds(ParallelConfig, st.integers(1, 8), st.integers(1, 4))
SOURCES = st.one_of(
    st.builds(ModelSource, checkpoint=NAMES, seed=st.integers(0, 2**63), sequence_length=st.integers(1, 4096)),
    st.builds(ModelSource, config=NAMES, seed=st.integers(0, 2**63), sequence_length=st.integers(1, 4096)),
)
MODELS = st.one_of(
    st.builds(RegisteredModel, NAMES, NAMES, st.none() | SOURCES, st.none(), st.none(), st.booleans()),
    st.builds(
        RegisteredModel,
        NAMES,
        NAMES,
        nodes=st.none() | st.lists(st.integers(0, 99), min_size=3, unique=True).map(tuple),
        min_nodes=st.integers(1, 3),
    ),
    st.builds(RegisteredModel, NAMES, NAMES, st.none() | SOURCES, SECONDS, st.none(), st.booleans()),
    st.builds(
        RegisteredModel,
        NAMES,
        NAMES,
        st.none() | SOURCES,
        st.none(),
        st.integers(1, 10**12).map(lambda nanoseconds: nanoseconds / 1e9),
        st.booleans(),
    ),
)


@st.composite
def stage_profiles(draw: st.DrawFn, config: ParallelConfig) -> StageProfile:
    stages = config.inter_op
    return StageProfile(
        config,
        draw(st.integers(1, 64)),
        draw(st.tuples(*[st.floats(0, 1e3)] * stages)),
        draw(st.tuples(*[BYTES] * stages)),
        draw(st.just(()) | st.tuples(*[BYTES] * stages)),
        draw(st.sampled_from(("measured", "estimated", "published", "imported"))),
        draw(NAMES),
        draw(st.just(()) | st.just(tuple(range(stages + 1)))),
    )


@st.composite
def profile_sets(draw: st.DrawFn) -> Profiles:
    models = {}
    for name in draw(st.sets(NAMES, max_size=3)):
        configs = draw(st.lists(CONFIGS, unique=True, max_size=3))
        stages = tuple(draw(stage_profiles(config)) for config in configs)
        own = draw(st.none() | SECONDS), draw(st.none() | COSTS)
        models[name] = ModelProfile(name, stages, draw(st.none() | SECONDS), *own)
    device = Device(draw(NAMES), draw(BYTES), draw(st.integers(0, 16)), draw(st.none() | COSTS))
    return Profiles(models, device, draw(st.floats(0, 1)), draw(st.floats(0, 1)))


@st.composite
def placements(draw: st.DrawFn) -> Placement:
    groups, first = [], 0
    for config in draw(st.lists(CONFIGS, min_size=1, max_size=4)):
        devices = tuple(range(first, first + config.num_devices))
        first += config.num_devices
        groups.append(Group(config, devices, tuple(draw(st.sets(NAMES, max_size=3)))))
    return Placement(tuple(groups), draw(st.sampled_from(DISPATCH_RULES)), draw(st.integers(1, 64)))


@given(model=MODELS)
def test_a_model_survives_the_wire(model: RegisteredModel) -> None:
    assert wire.to_model(wire.model_message(model)) == model


@given(profiles=profile_sets())
def test_profiles_survive_the_wire(profiles: Profiles) -> None:
    assert wire.to_profiles(wire.profiles_message(profiles)) == profiles


@given(placement=placements())
def test_a_placement_survives_the_wire(placement: Placement) -> None:
    assert wire.to_placement(wire.placement_message(placement)) == placement


@given(placement=placements(), version=st.integers(0, 2**40))
def test_a_running_placement_tells_names_addresses_and_workers(placement: Placement, version: int) -> None:
    groups = tuple(
        DeployedGroup(f"g{index}", group.config, group.devices, f"w{index}", f"host:{index}", {})
        for index, group in enumerate(placement.groups)
    )
    deployment = Deployment(
        version, groups, dispatch=placement.dispatch, policy="given", max_batch_size=placement.max_batch_size
    )
    message = wire.deployment_message(deployment)
    assert (message.version, message.policy, message.dispatch) == (version, "given", placement.dispatch)
    assert message.max_batch_size == placement.max_batch_size
    assert [(one.name, one.worker, one.address) for one in message.groups] == [
        (group.name, group.worker, group.address) for group in groups
    ]
    assert [tuple(one.devices) for one in message.groups] == [group.devices for group in placement.groups]


@given(seconds=st.floats(1e-9, 1e8))
def test_seconds_survive_a_duration_to_the_nanosecond(seconds: float) -> None:
    assert wire.duration_s(wire.to_duration(seconds), "slo") == pytest.approx(seconds, rel=1e-12, abs=1e-9)


@pytest.mark.parametrize(
    ("seconds", "nanos", "says"),
    [(0, 0, "got 0.0 s"), (-2, 0, "got -2.0 s"), (0, -5, "got -5e-09 s"), (-1, -500_000_000, "got -1.5 s")],
)
def test_a_duration_that_is_not_positive_is_named(seconds: int, nanos: int, says: str) -> None:
    with pytest.raises(InvalidArgument, match=f"slo must be positive, {says}"):
        wire.duration_s(duration_pb2.Duration(seconds=seconds, nanos=nanos), "slo")


def test_defaults_are_filled_in() -> None:
    message = model_pb2.Model(name="m", source=model_pb2.ModelSource(config_json="{}"))
    model = wire.to_model(message)
    assert model == RegisteredModel("m", "m", ModelSource(config="{}", sequence_length=128))


def test_a_source_that_is_none_is_none() -> None:
    assert wire.to_model(model_pb2.Model(name="m", source=model_pb2.ModelSource(seed=3))).source is None


@pytest.mark.parametrize(
    ("message", "kind", "says"),
    [
        (placement_pb2.Placement(groups=[placement_pb2.Group()]), InvalidPlacement, "group 0 has no parallel config"),
        (
            placement_pb2.Placement(
                groups=[placement_pb2.Group(config=model_pb2.ParallelConfig(inter_op=1, intra_op=1), devices=[1, 2])]
            ),
            InvalidPlacement,
            r"needs 1 devices, got \(1, 2\)",
        ),
    ],
)
def test_a_malformed_placement_is_refused(
    message: placement_pb2.Placement, kind: type[AlpaServeError], says: str
) -> None:
    with pytest.raises(kind, match=says):
        wire.to_placement(message)


@pytest.mark.parametrize(("inter_op", "intra_op"), [(0, 1), (1, 0)])
def test_a_parallel_config_without_devices_is_refused(inter_op: int, intra_op: int) -> None:
    with pytest.raises(InvalidProfile, match=f"{inter_op}x{intra_op}"):
        wire.to_config(model_pb2.ParallelConfig(inter_op=inter_op, intra_op=intra_op))


def test_a_source_of_both_kinds_is_refused() -> None:
    with pytest.raises(InvalidModel, match="not both"):
        ModelSource(checkpoint="a", config="{}")
