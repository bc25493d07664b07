"""Four devices on the host, and BERT models small enough to compile in a moment."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache
from numpy.typing import NDArray
from safetensors.numpy import save_file

from services.core.model import ModelSource
from services.parallel.environment import device_environment
from tests.tiny_bert import CONFIG

# The number of devices is read when JAX is first used, the platform already at its import.
os.environ.update(device_environment(num_devices=4, platform="cpu"))
# Compiling takes far longer than running what is compiled here.
os.environ["XLA_FLAGS"] += " --xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
jax.config.update("jax_platforms", "cpu")

Config = dict[str, Any]
WriteCheckpoint = Callable[..., Path]

TINY_CONFIG: Config = {**CONFIG, "num_hidden_layers": 3, "layer_norm_eps": 1e-12, "hidden_act": "gelu"}


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory of compiled programs, which no later test of another folder sees."""
    yield tmp_path_factory.mktemp("compiled")
    jax.config.update("jax_compilation_cache_dir", None)
    compilation_cache.reset_cache()


@pytest.fixture(scope="session", autouse=True)
def shared_programs(cache_dir: Path) -> None:
    """Tests compile the same tiny programs: once is enough."""
    jax.config.update("jax_compilation_cache_dir", str(cache_dir))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


@pytest.fixture
def tiny_config() -> Config:
    return dict(TINY_CONFIG)


@pytest.fixture
def tiny_source(tiny_config: Config) -> ModelSource:
    return ModelSource(config=json.dumps(tiny_config), seed=7, sequence_length=8)


@pytest.fixture
def tiny_inputs() -> dict[str, NDArray[np.int64]]:
    return {"input_ids": np.array([3, 1, 4, 1, 5], dtype=np.int64)}


@pytest.fixture
def write_checkpoint(tmp_path: Path) -> WriteCheckpoint:
    """Writes `config.json` and `model.safetensors`; returns their directory."""

    def write(config: Config, tensors: Mapping[str, NDArray[Any]]) -> Path:
        (tmp_path / "config.json").write_text(json.dumps(config))
        save_file(dict(tensors), tmp_path / "model.safetensors")
        return tmp_path

    return write


@pytest.fixture
def tiny_tensors(tiny_config: Config) -> dict[str, NDArray[np.float32]]:
    return random_bert_tensors(tiny_config)


@pytest.fixture
def random_tensors() -> Callable[[Config], dict[str, NDArray[np.float32]]]:
    return random_bert_tensors


def random_bert_tensors(config: Config) -> dict[str, NDArray[np.float32]]:
    """Every tensor of a BERT checkpoint, drawn in the order of their names from seed 0."""
    shapes = _bert_shapes(config)
    generator = np.random.default_rng(0)
    return {name: generator.normal(0, 0.5, shapes[name]).astype(np.float32) for name in sorted(shapes)}


def _bert_shapes(config: Config) -> dict[str, tuple[int, ...]]:
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (config["vocab_size"], hidden),
        "embeddings.position_embeddings.weight": (config["max_position_embeddings"], hidden),
        "embeddings.token_type_embeddings.weight": (config["type_vocab_size"], hidden),
        "embeddings.LayerNorm.weight": (hidden,),
        "embeddings.LayerNorm.bias": (hidden,),
    }
    linear = {
        "attention.self.query": (hidden, hidden),
        "attention.self.key": (hidden, hidden),
        "attention.self.value": (hidden, hidden),
        "attention.output.dense": (hidden, hidden),
        "intermediate.dense": (inner, hidden),
        "output.dense": (hidden, inner),
    }
    for block in range(config["num_hidden_layers"]):
        where = f"encoder.layer.{block}"
        for name, shape in linear.items():
            shapes[f"{where}.{name}.weight"] = shape
            shapes[f"{where}.{name}.bias"] = shape[:1]
        for name in ("attention.output", "output"):
            shapes[f"{where}.{name}.LayerNorm.weight"] = (hidden,)
            shapes[f"{where}.{name}.LayerNorm.bias"] = (hidden,)
    return shapes
