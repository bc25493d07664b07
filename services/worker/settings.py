"""What a worker is told."""

from contextlib import suppress
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from services.infra.settings import CheckpointSettings


class WorkerSettings(CheckpointSettings):
    """Environment of `alpaserve-worker`."""

    worker_name: str = Field("worker", min_length=1, description="Name of this worker, unique in the cluster.")
    executor: str = Field("jax", pattern="^(jax|emulated)$", description="jax runs models; emulated only takes time.")
    platform: str = Field("cpu", pattern="^(cpu|gpu)$", description="Kind of device that the jax executor uses.")
    num_devices: int = Field(1, ge=1, description="Devices of this host; on cpu the host is split into as many.")
    memory_bytes: int = Field(2**30, ge=1, description="Bytes that each device offers to weights.")
    load_bytes_per_s: float | None = Field(
        None, gt=0, description="Bytes that each emulated device loads in a second; none means at once."
    )
    hang_s: float = Field(5.0, gt=0, description="Seconds without an answer after which a group's process hangs.")
    loading_hang_s: float = Field(60.0, gt=0, description="The same while it starts, or loads and frees models.")
    queue_limit: int = Field(1024, ge=1, description="Requests that a group holds at most.")
    cache_dir: str = Field(
        "~/.cache/alpaserve/compiled",
        description="Where compiled programs are kept, so that loading again is quick; empty means nowhere.",
    )
    ray_address: str = Field("local", description="The Ray cluster to join; local starts one.")
    ray_object_store_bytes: int = Field(80 * 2**20, ge=2**20, description="Ray's object store, where this starts Ray.")

    @model_validator(mode="after")
    def check_reachable(self) -> Self:
        """Routers of other hosts must find the leaders."""
        if not self.advertise_host and self.host in ("0.0.0.0", "::"):
            raise ValueError(f"advertise_host is needed where host is {self.host}")
        return self

    @property
    def compiled_dir(self) -> str:
        """`cache_dir`, with the home in place of its ~; empty where there is no home."""
        with suppress(RuntimeError):
            return str(Path(self.cache_dir).expanduser()) if self.cache_dir else ""
        return ""
