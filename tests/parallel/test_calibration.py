"""Costs of devices: fitted, measured, and from the data of well-known ones."""

import json
from dataclasses import fields
from pathlib import Path

import jax
import numpy as np
import pytest

from services.core.device import DeviceCosts, Link
from services.core.errors import InvalidArgument
from services.parallel import calibration
from services.parallel.calibration import calibrate, fit_link
from services.parallel.known_devices import known_devices, typical_costs

SIZES = [float(1 << power) for power in range(10, 26, 3)]
LINKS = tuple(field.name for field in fields(DeviceCosts) if field.type is Link)


@pytest.mark.parametrize(("latency_s", "bytes_per_s"), [(1e-4, 1e9), (2e-5, 3e11), (0.0, 1e9)])
def test_a_link_is_found_from_its_own_seconds(latency_s: float, bytes_per_s: float) -> None:
    link = Link(latency_s, bytes_per_s)

    fitted = fit_link(SIZES, [link.seconds(size) for size in SIZES])

    assert fitted.latency_s == pytest.approx(latency_s, abs=1e-12)
    assert fitted.bytes_per_s == pytest.approx(bytes_per_s)


@pytest.mark.parametrize("seed", range(5))
def test_a_link_is_found_despite_noise(seed: int) -> None:
    link = Link(1e-4, 1e9)
    noise = np.random.default_rng(seed).uniform(0.8, 1.2, len(SIZES))

    fitted = fit_link(SIZES, [link.seconds(size) * factor for size, factor in zip(SIZES, noise, strict=True)])

    for size in SIZES:
        assert fitted.seconds(size) == pytest.approx(link.seconds(size), rel=0.3)


@pytest.mark.parametrize("seconds", [[3.0, 2.0, 1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0, 1.0, 9.0], [0.0] * 6])
def test_no_measurement_makes_a_link_negative(seconds: list[float]) -> None:
    fitted = fit_link(SIZES, seconds)

    assert fitted.latency_s >= 0
    assert 0 < fitted.bytes_per_s < float("inf")


def test_two_devices_are_calibrated() -> None:
    costs = calibrate(jax.devices()[:2])

    assert costs.flops_per_s > costs.bytes_per_s
    # A slope was found: more bytes took longer.
    assert max(getattr(costs, name).bytes_per_s for name in LINKS) < 1e14


def test_a_device_alone_takes_its_border_for_collectives() -> None:
    costs = calibrate(jax.devices()[:1])

    assert {getattr(costs, name) for name in LINKS} == {costs.border}


def test_no_devices_cannot_be_calibrated() -> None:
    with pytest.raises(InvalidArgument, match="no devices"):
        calibrate([])


@pytest.mark.parametrize("name", ["v100", "a100", "h100", "h200", "cpu"])
def test_known_devices_compute_at_a_share_of_their_peak(name: str) -> None:
    entry = json.loads((Path(calibration.__file__).parent / "known_devices.json").read_text())["devices"][name]

    share = known_devices()[name].flops_per_s / entry["peak_flops_per_s"]

    assert 0.5 < share < 1


def test_devices_that_nobody_calibrated_have_typical_costs() -> None:
    assert typical_costs("cpu") == known_devices()["cpu"]
    assert typical_costs("gpu").flops_per_s > typical_costs("cpu").flops_per_s
