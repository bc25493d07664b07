"""A leader over real stages: what a batch answers, and what loading again changes."""

import asyncio
import json
import math
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.leaders import execute
from services.core.errors import AlpaServeError, DoesNotFit, InvalidModel
from services.core.model import ModelSource, RegisteredModel
from services.core.profile import ParallelConfig
from services.parallel.environment import device_environment
from services.worker.leader.executor import Replica
from services.worker.leader.flight import Outcome, Served
from services.worker.leader.group import GroupLeader
from tests.tiny_bert import CONFIG

# Before anything uses JAX: the host as four devices, as all tests of models have it.
os.environ.update(device_environment(num_devices=4, platform="cpu"))

SOURCE = ModelSource(config=json.dumps(CONFIG), seed=7, sequence_length=8)
SLOW = (1.0, 1.0)
REPLICA = Replica(RegisteredModel("m", "p", SOURCE), SLOW, (1, 1), boundaries=(0, 2, 5))


@pytest.fixture
async def leader() -> AsyncIterator[GroupLeader]:
    """Two stages on a device each."""
    from services.worker.leader.jax_executor import JaxExecutor

    async with GroupLeader("g1", 2, JaxExecutor(ParallelConfig(2, 1), ""), queue_limit=10) as group:
        yield group


async def answers(leader: GroupLeader, *sentences: list[int]) -> list[Served]:
    """To all at once: the first runs alone, and the others wait meanwhile."""
    asked: list[asyncio.Task[Outcome]] = [
        asyncio.create_task(execute(leader, "m", {"input_ids": np.array(ids, dtype=np.int64)}, math.inf))
        for ids in sentences
    ]
    return [outcome for outcome in await asyncio.gather(*asked) if isinstance(outcome, Served)]


def states(served: Served) -> NDArray[np.float32]:
    return np.asarray(served.outputs["last_hidden_state"], dtype=np.float32)


async def test_a_member_of_a_batch_is_answered_as_if_it_ran_alone(leader: GroupLeader) -> None:
    await leader.load(replace(REPLICA, larger_batches={2: SLOW}))
    sentences = ([3, 1, 4], [1, 5, 9, 2, 6], [5, 3])
    together = await answers(leader, *sentences)
    alone = [(await answers(leader, sentence))[0] for sentence in sentences]
    assert [served.batch_size for served in together] == [1, 2, 2]
    assert [served.batch_size for served in alone] == [1, 1, 1]
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_allclose(states(one), states(other), rtol=1e-5, atol=1e-6)


async def test_loading_again_adds_batch_sizes(leader: GroupLeader) -> None:
    await leader.load(REPLICA)
    (before,) = await answers(leader, [3, 1, 4])
    await leader.load(replace(REPLICA, larger_batches={2: SLOW}))
    batched = await answers(leader, [3, 1, 4], [3, 1, 4], [3, 1, 4])
    assert leader.replicas["m"].batch_sizes == (1, 2)
    assert [served.batch_size for served in batched] == [1, 2, 2]
    for served in batched:
        np.testing.assert_allclose(states(served), states(before), rtol=1e-5, atol=1e-6)


async def test_a_model_that_was_unloaded_can_be_cut_anew(leader: GroupLeader) -> None:
    await leader.load(REPLICA)
    (before,) = await answers(leader, [3, 1, 4])
    await leader.unload("m")
    await leader.load(replace(REPLICA, boundaries=(0, 3, 5)))
    (after,) = await answers(leader, [3, 1, 4])
    np.testing.assert_allclose(states(after), states(before), rtol=1e-5, atol=1e-6)


@pytest.fixture
def faulty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The faulty model, as an installed package would bring it."""
    metadata = tmp_path / "faulty-0.1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: faulty\nVersion: 0.1.0\n")
    (metadata / "entry_points.txt").write_text("[alpaserve.models]\nfaulty = tests.worker.faulty_model:open_faulty\n")
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.parametrize(
    ("failure", "kind", "says"),
    [
        ("key", InvalidModel, "KeyError: 'no such head'"),
        ("device", DoesNotFit, "RESOURCE_EXHAUSTED: out of memory"),
    ],
)
async def test_a_model_that_breaks_while_it_is_loaded_is_refused_and_leaves_nothing_behind(
    leader: GroupLeader, faulty: None, failure: str, kind: type[AlpaServeError], says: str
) -> None:
    config = json.dumps(CONFIG | {"model_type": "faulty", "failure": failure})
    with pytest.raises(kind, match=f"model 'm' cannot be loaded: .*{says}"):
        await leader.load(replace(REPLICA, model=RegisteredModel("m", "p", replace(SOURCE, config=config))))
    assert leader.replicas == {}
    await leader.load(REPLICA)
    assert len(await answers(leader, [3, 1, 4])) == 1


@pytest.mark.parametrize(
    ("kind", "says", "is_exhausted"),
    [
        ("JaxRuntimeError", "RESOURCE_EXHAUSTED: out of memory", True),
        ("JaxRuntimeError", "INTERNAL: no such operator", False),
        ("MemoryError", "no page left", True),
        ("RuntimeError", "RESOURCE_EXHAUSTED, says a model", False),
    ],
)
def test_memory_that_was_not_enough_is_told_from_other_failures(kind: str, says: str, is_exhausted: bool) -> None:
    import jax

    from services.worker.leader.jax_executor import is_exhaustion

    kinds = {"JaxRuntimeError": jax.errors.JaxRuntimeError, "MemoryError": MemoryError, "RuntimeError": RuntimeError}
    assert is_exhaustion(kinds[kind](says)) is is_exhausted
