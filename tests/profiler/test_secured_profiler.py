"""A secured profiler measures over the same doors as serving has, each behind TLS and a token."""

import asyncio
import json
from dataclasses import asdict
from pathlib import Path

import pytest
from alpaserve.v1 import model_pb2, profiler_pb2
from alpaserve_cli.authority import Authority
from alpaserve_cli.security_files import SecurityFiles
from alpaserve_client import ConnectionOptions, ProfilerClient, Tls, Unauthenticated

from services.core.model import ModelSource, RegisteredModel
from services.infra.store.connection import connect
from services.infra.store.registry import ModelStore
from services.parallel.known_devices import known_devices
from tests.conftest import System
from tests.tiny_bert import CONFIG

MODEL = RegisteredModel("tiny", "tiny", ModelSource(config=json.dumps(CONFIG), seed=7, sequence_length=8))
# Its costs are known: nothing is calibrated for it.
KNOWN = {
    "schema": "alpaserve.profiles/v1",
    "device": {"kind": "cpu", "costs": asdict(known_devices()["cpu"])},
    "models": [{"model": "tiny", "profiles": []}],
}


async def register(redis_url: str) -> None:
    redis = connect(redis_url)
    await ModelStore(redis).put(MODEL)
    await redis.aclose()


@pytest.mark.slow
def test_a_secured_profiler_measures(system: System, tmp_path: Path) -> None:
    files = SecurityFiles(tmp_path / "security")
    files.make(Authority(1.0))
    told = {name.removeprefix("ALPASERVE_").lower(): value for name, value in files.variables("server").items()}
    paths = {"tokens_file": files.tokens_file, "models_dir": tmp_path, "cache_dir": system.directory / "compiled"}
    asyncio.run(register(system.redis_url))
    process = system.start("profiler", num_warmups=1, num_repeats=2, **told, **paths)
    tls = Tls(files.ca, files.directory / "client.pem", files.directory / "client-key.pem")
    order = profiler_pb2.ProfileRequest(model="tiny", configs=[model_pb2.ParallelConfig(inter_op=1, intra_op=1)])

    with (
        ProfilerClient(process.address, ConnectionOptions(tls=tls)) as stranger,
        pytest.raises(Unauthenticated, match="no token"),
    ):
        list(stranger.profile(order, timeout_s=20))
    token = files.token_file("admin").read_text().strip()
    with ProfilerClient(process.address, ConnectionOptions(tls=tls, token=token)) as client:
        client.import_profiles(json.dumps(KNOWN).encode())
        events = list(client.profile(order, timeout_s=150))

    assert events[-1].profile.name == "tiny"
