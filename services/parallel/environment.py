"""The environment of a process that will run JAX.

It must be set before jax is imported, so nothing here imports jax.
"""

from services.core.errors import InvalidArgument

_JAX_PLATFORMS = {"cpu": "cpu", "gpu": "cuda"}


def device_environment(num_devices: int, platform: str) -> dict[str, str]:
    """Environment variables for one process that sees `num_devices` devices of `platform`.

    On `cpu` the host is split into that many devices; on `gpu` the devices are those that
    `CUDA_VISIBLE_DEVICES` leaves visible, and memory is taken as it is needed because groups
    may share a device. One compute thread per device: a group must not slow its neighbours.

    Raises:
        InvalidArgument: no devices, or a platform other than `cpu` and `gpu`.
    """
    if num_devices < 1:
        raise InvalidArgument(f"num_devices must be at least 1, got {num_devices}")
    if platform not in _JAX_PLATFORMS:
        raise InvalidArgument(f"platform must be one of {sorted(_JAX_PLATFORMS)}, got {platform!r}")
    environment = {"JAX_PLATFORMS": _JAX_PLATFORMS[platform], "NPROC": "1", "OMP_NUM_THREADS": "1"}
    if platform == "cpu":
        environment["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={num_devices}"
    else:
        environment["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    return environment
