"""What is counted of searches."""

import pytest
from prometheus_client import REGISTRY

from services.planner.metrics import measured_search


class Search:
    """One that has simulated so many placements."""

    num_simulations = 7


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"alpaserve_plan_{name}", labels) or 0.0


def test_a_search_that_fails_is_counted_with_what_it_simulated() -> None:
    failed, simulated = counted("searches_total", result="failed"), counted("simulations_total")

    with pytest.raises(ValueError, match="no"), measured_search(Search()):
        raise ValueError("no")

    assert counted("searches_total", result="failed") == failed + 1
    assert counted("simulations_total") == simulated + 7
