"""Which parallel configs a group of a cluster may have."""

import pytest

from services.core.factoring import candidate_configs
from services.core.spec import Cluster


@pytest.mark.parametrize(
    ("num_devices", "per_node", "configs"),
    [
        (4, 8, "1x1 2x1 1x2 4x1 2x2 1x4"),
        (16, 8, "1x1 2x1 1x2 4x1 2x2 1x4 8x1 4x2 2x4 8x2 4x4"),
        (8, 6, "1x1 2x1 1x2 4x1 2x2 1x4"),
    ],
)
def test_candidates_are_factorings_of_powers_of_two(num_devices: int, per_node: int, configs: str) -> None:
    assert [str(config) for config in candidate_configs(Cluster(num_devices, per_node, 1))] == configs.split()
