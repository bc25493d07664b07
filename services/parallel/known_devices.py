"""What well-known kinds of devices cost, from data; sources and efficiencies are noted there."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from services.core.device import DeviceCosts, Link
from services.core.errors import InvalidArgument
from services.core.profile import Device

_KNOWN = Path(__file__).parent / "known_devices.json"
_TYPICAL = {"cpu": "cpu"}


def known_devices() -> Mapping[str, DeviceCosts]:
    """Costs of well-known kinds of devices by name (`v100`, `a100`, `h100`, `h200` in 16-bit floats, `cpu` in
    32-bit ones); sources and efficiencies are noted in the data."""
    entries = json.loads(_KNOWN.read_text())["devices"]
    return {name: _device_costs(entry["costs"]) for name, entry in entries.items()}


def known_device(kind: str) -> Device:
    """One of them with its memory and how many a host has, 0 where the data does not say.

    Raises:
        InvalidArgument: the kind is not known; the message names those that are.
    """
    entries = json.loads(_KNOWN.read_text())["devices"]
    if kind not in entries:
        raise InvalidArgument(f"device_kind {kind!r} is not known; there are: {', '.join(sorted(entries))}")
    entry = entries[kind]
    return Device(kind, entry["memory_bytes"], entry["devices_per_node"], _device_costs(entry["costs"]))


def typical_costs(platform: str) -> DeviceCosts:
    """For devices of a platform (`cpu`, `gpu`) that nobody has calibrated."""
    return known_devices()[_TYPICAL.get(platform, "a100")]


def _device_costs(costs: Mapping[str, Any]) -> DeviceCosts:
    links = {name: Link(**value) for name, value in costs.items() if isinstance(value, dict)}
    return DeviceCosts(**({**costs} | links))
