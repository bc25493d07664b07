"""The environment of a JAX process."""

import subprocess
import sys

import pytest

from services.core.errors import InvalidArgument
from services.parallel.environment import device_environment


def test_the_host_is_split_into_the_devices_asked_for() -> None:
    environment = device_environment(4, "cpu")

    assert environment == {
        "JAX_PLATFORMS": "cpu",
        "NPROC": "1",
        "OMP_NUM_THREADS": "1",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
    }


def test_gpu_memory_is_not_taken_in_advance() -> None:
    environment = device_environment(2, "gpu")

    assert environment["JAX_PLATFORMS"] == "cuda"
    assert environment["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false"
    assert "XLA_FLAGS" not in environment


@pytest.mark.parametrize(("num_devices", "platform", "named"), [(0, "cpu", "got 0"), (1, "tpu", "'tpu'")])
def test_an_impossible_environment_is_refused_by_name(num_devices: int, platform: str, named: str) -> None:
    with pytest.raises(InvalidArgument, match=named):
        device_environment(num_devices, platform)


def test_the_environment_is_told_without_importing_jax() -> None:
    check = "import sys, services.parallel.environment; sys.exit('jax' in sys.modules or 'numpy' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
