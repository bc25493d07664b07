"""Weight bytes of each device of a host: the same rule that planner and simulator fit by."""

from collections.abc import Sequence

from services.core.errors import DoesNotFit


class DeviceMemory:
    """Counts, per device and group, the sum of the models' heaviest stages."""

    def __init__(self, num_devices: int, memory_bytes: int) -> None:
        self._memory_bytes = memory_bytes
        self._held: list[dict[tuple[str, str], int]] = [{} for _ in range(num_devices)]

    def used_bytes(self) -> list[int]:
        return [sum(device.values()) for device in self._held]

    def check(self, group: str, model: str, devices: Sequence[int], num_bytes: int) -> None:
        """Raises: DoesNotFit if the devices have no room for `num_bytes` each."""
        for device in devices:
            held = self._held[device]
            used = sum(held.values()) - held.get((group, model), 0)
            if used + num_bytes > self._memory_bytes:
                raise DoesNotFit(
                    f"model {model!r} in group {group} needs {num_bytes} bytes on device {device}, "
                    f"where {used} of {self._memory_bytes} are in use"
                )

    def take(self, group: str, model: str, devices: Sequence[int], num_bytes: int) -> None:
        """Hold `num_bytes` on each of the devices. Raises: DoesNotFit, changing nothing."""
        self.check(group, model, devices, num_bytes)
        for device in devices:
            self._held[device][group, model] = num_bytes

    def give_back_all(self, group: str) -> None:
        """What the group holds, and what it was about to."""
        for held in self._held:
            for owner in [owner for owner in held if owner[0] == group]:
                del held[owner]

    def give_back(self, group: str, model: str) -> None:
        for held in self._held:
            held.pop((group, model), None)
