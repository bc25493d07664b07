"""Cuts where layers differ, by the cost model of a V100 (AlpaServe, section 6.6 reports 33 to 47 % less overhead)."""

import json
from functools import cache
from typing import Any

import pytest

from services.core.model import ModelSource
from services.parallel.architectures import open_model
from services.parallel.inter_op.cut import equal_blocks, equal_layers, imbalance_s
from services.parallel.inter_op.layer_costs import LayerCosts, choose_boundaries, estimated_layer_costs
from services.parallel.inter_op.refinement import RefinedModel
from services.parallel.known_devices import known_devices
from services.parallel.models.configs import shipped_config


@cache
def costed(name: str, num_blocks: int, sequence_length: int) -> tuple[int, RefinedModel, LayerCosts]:
    """The number of coarse layers, the refined model and what its layers cost."""
    config: dict[str, Any] = {**shipped_config(name), "num_hidden_layers": num_blocks}
    source = ModelSource(config=json.dumps(config), sequence_length=sequence_length, dtype="float16")
    model = open_model(source)
    refined = RefinedModel(model)
    return model.num_layers, refined, estimated_layer_costs(refined, 1, known_devices()["v100"])


CASES = [
    *(("bert-1.3b", 24, length, num_stages) for length in (1024, 2048) for num_stages in (2, 4, 8)),
    *(("moe-1.3b", num_blocks, 2048, num_stages) for num_blocks in (16, 18) for num_stages in (4, 8)),
]


@pytest.mark.parametrize(("name", "num_blocks", "sequence_length", "num_stages"), CASES)
def test_imbalance_is_lower_by_30_percent_than_with_equal_layers(
    name: str, num_blocks: int, sequence_length: int, num_stages: int
) -> None:
    num_layers, model, costs = costed(name, num_blocks, sequence_length)

    equal = costs.stage_latency_s(model.refined_boundaries(equal_layers(num_layers, num_stages)))
    chosen = costs.stage_latency_s(choose_boundaries(costs, num_stages))

    assert imbalance_s(chosen) <= 0.7 * imbalance_s(equal)


@pytest.mark.parametrize(
    ("name", "num_blocks", "sequence_length", "num_stages", "share"),
    [
        *(("bert-1.3b", 24, 1024, num_stages, 0.7) for num_stages in (2, 4, 8)),
        # Here a block's attention alone costs three quarters of a block, and cannot be cut.
        *(("bert-1.3b", 24, 2048, num_stages, 0.8) for num_stages in (2, 4, 8)),
        *(("moe-1.3b", 18, 2048, num_stages, 0.7) for num_stages in (4, 8)),
    ],
)
def test_imbalance_is_lower_than_with_as_many_blocks_in_each_stage(
    name: str, num_blocks: int, sequence_length: int, num_stages: int, share: float
) -> None:
    num_layers, model, costs = costed(name, num_blocks, sequence_length)

    by_hand = costs.stage_latency_s(model.refined_boundaries(equal_blocks(num_layers, num_stages)))
    chosen = costs.stage_latency_s(choose_boundaries(costs, num_stages))

    assert imbalance_s(chosen) <= share * imbalance_s(by_hand)
