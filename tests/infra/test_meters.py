"""Our histograms are those that Prometheus' own client would tell."""

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram

from services.infra.meters import LATENCY_BOUNDS_S, Distribution, histogram


@given(st.lists(st.one_of(st.sampled_from(LATENCY_BOUNDS_S), st.floats(0, 100)), max_size=40))
def test_values_fall_into_the_buckets_of_the_client(values: list[float]) -> None:
    theirs = Histogram("x", "x", ["model"], buckets=LATENCY_BOUNDS_S, registry=CollectorRegistry())
    ours = Distribution(LATENCY_BOUNDS_S)
    for value in values:
        theirs.labels("m").observe(value)
        ours.observe(value)
    expected = [sample for family in theirs.collect() for sample in family.samples] if values else []
    told = [sample for sample in histogram("x", "x", "model", {"m": ours}).samples if values]
    assert [(one.name, one.labels, one.value) for one in told] == [
        (one.name, one.labels, one.value) for one in expected if not one.name.endswith("_created")
    ]
