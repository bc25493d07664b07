"""What a profiler is told."""

from pydantic import Field

from services.infra.settings import CheckpointSettings


class ProfilerSettings(CheckpointSettings):
    """Environment of `alpaserve-profiler`."""

    platform: str = Field("cpu", pattern="^(cpu|gpu)$", description="Kind of device to measure on.")
    num_devices: int = Field(1, ge=1, description="Devices to measure on; on cpu the host is split into as many.")
    devices_per_node: int = Field(0, ge=0, description="Noted in the profile; 0 means num_devices.")
    memory_bytes: int = Field(
        2**30, ge=1, description="Bytes that each device offers to weights; noted in the profile."
    )
    num_warmups: int = Field(3, ge=0, description="Runs before the timed ones.")
    num_repeats: int = Field(20, ge=1, description="Timed runs where the caller names no number.")
    cache_dir: str = Field("", description="Where compiled programs are kept; empty means nowhere.")
    ray_address: str = Field("local", description="The Ray cluster to join; local starts one.")
    ray_object_store_bytes: int = Field(80 * 2**20, ge=2**20, description="Ray's object store, where this starts Ray.")
